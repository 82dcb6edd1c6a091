/**
 * The principals this gateway has seen, kept fresh: one statement each second for all of them, so a revoked client is out within a second or two.
 * Invariants: bounded (`maxKnown`, the oldest goes first); a first burst of one principal asks the database once; a subject that is not found is asked for
 * again each time, but never more than `maxLookups` at once (a flood of made-up clients must not fill the database pool).
 */
import { OneDataError } from "@onedata/core";
import type { Log } from "../http/seam.ts";

export type PrincipalRow = {
  readonly principalId: bigint;
  readonly tenantId: bigint;
  readonly subject: string;
  readonly name: string;
  readonly scopes: readonly string[];
  readonly secretHash: string | undefined;
};

/** Rows that are not revoked. */
export interface PrincipalStore {
  bySubject(subject: string): Promise<PrincipalRow | undefined>;
  byIds(ids: readonly bigint[]): Promise<readonly PrincipalRow[]>;
}

/** A living view of one row: `row` becomes undefined when it is revoked; `revision` rises when anything changes. */
export type Known = { row: PrincipalRow | undefined; revision: number };

export interface Directory {
  bySubject(subject: string): Known | Promise<Known | undefined>;
  byId(id: bigint): Known | Promise<Known | undefined>;
  refresh(): Promise<void>;
}

export function createDirectory(store: PrincipalStore, log: Log, { maxKnown = 10_000, maxLookups = 64 } = {}): Directory {
  const bySubject = new Map<string, Known>();
  const byId = new Map<bigint, Known>();
  const lookups = new Map<string | bigint, Promise<Known | undefined>>();

  const remember = (row: PrincipalRow): Known => {
    const existing = byId.get(row.principalId);
    if (existing !== undefined) return update(existing, row);
    const known: Known = { row, revision: 0 };
    byId.set(row.principalId, known);
    bySubject.set(row.subject, known);
    if (byId.size > maxKnown) {
      const [oldestId, oldest] = byId.entries().next().value ?? [];
      if (oldestId !== undefined) byId.delete(oldestId);
      if (oldest !== undefined) {
        if (oldest.row !== undefined) bySubject.delete(oldest.row.subject);
        // Tokens that were verified against it ask again.
        oldest.row = undefined;
        oldest.revision += 1;
      }
    }
    return known;
  };
  const lookUp = (key: string | bigint, find: () => Promise<PrincipalRow | undefined>): Promise<Known | undefined> => {
    const open = lookups.get(key);
    if (open !== undefined) return open;
    if (lookups.size >= maxLookups) throw new OneDataError("capture.overloaded", "too many sign-ins at once: try again", { retryAfterSeconds: 1 });
    const lookup = find()
      .then((row) => (row === undefined ? undefined : remember(row)))
      .finally(() => lookups.delete(key));
    lookups.set(key, lookup);
    return lookup;
  };
  return {
    bySubject(subject) {
      const known = bySubject.get(subject);
      return known?.row === undefined ? lookUp(subject, () => store.bySubject(subject)) : known;
    },
    byId(id) {
      const known = byId.get(id);
      return known?.row === undefined ? lookUp(id, async () => (await store.byIds([id]))[0]) : known;
    },
    async refresh() {
      const ids = [...byId.keys()];
      if (ids.length === 0) return;
      try {
        const rows = new Map((await store.byIds(ids)).map((row) => [row.principalId, row]));
        for (const id of ids) {
          const known = byId.get(id);
          if (known === undefined) continue;
          const row = rows.get(id);
          if (row !== undefined) update(known, row);
          else {
            if (known.row !== undefined) bySubject.delete(known.row.subject);
            byId.delete(id);
            known.row = undefined;
            known.revision += 1;
          }
        }
      } catch (error) {
        log.warn("principals could not be refreshed", { error });
      }
    },
  };
}

function update(known: Known, row: PrincipalRow): Known {
  const old = known.row;
  const same =
    old !== undefined &&
    old.secretHash === row.secretHash &&
    old.tenantId === row.tenantId &&
    old.scopes.length === row.scopes.length &&
    old.scopes.every((scope, i) => scope === row.scopes[i]);
  if (!same) {
    known.row = row;
    known.revision += 1;
  }
  return known;
}
