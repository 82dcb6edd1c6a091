/**
 * Which release a migration belongs to. The rule that rests on it (docs/migrations.md): a process of one release works on the schema of the next one, not on
 * that of the one after.
 */

/** The last migration of each published release, in order. Publishing one with migrations appends its last number. */
const LAST_MIGRATIONS: readonly number[] = [6];

/** The release that this code belongs to: the one after the last published. */
export const SCHEMA_RELEASE = LAST_MIGRATIONS.length + 1;

export function releaseOf(migration: number): number {
  const published = LAST_MIGRATIONS.findIndex((last) => migration <= last);
  return published === -1 ? SCHEMA_RELEASE : published + 1;
}
