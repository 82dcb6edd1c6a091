/** For tests of the writer: a database of the file's own, calls of one group, and what became of them. Registers the file's hooks. */
import type { JsonObject } from "@onedata/core";
import { openTestDatabase, type TestDatabase } from "@onedata/store/testing";
import { afterAll, beforeAll } from "vitest";
import { testGroup } from "../conformance.ts";
import type { ConnectionConfig, SinkGroup, SinkRecord, WriteOutcomes } from "../sink.ts";
import { openSinkDatabase } from "./testing.ts";

export type Database = Awaited<ReturnType<typeof openSinkDatabase>>;

/** Gives the opener of the file's database: each opening finds it empty. */
export function useSinkDatabase(): () => Promise<Database> {
  let shared: TestDatabase;
  beforeAll(async () => {
    shared = await openTestDatabase();
  });
  afterAll(() => shared[Symbol.asyncDispose]());
  return () => openSinkDatabase(shared);
}

export const insert = (
  database: { connection: ConnectionConfig },
  table: string,
  records: readonly SinkRecord[],
  rest: Partial<SinkGroup> = {},
  config: JsonObject = {},
): SinkGroup =>
  testGroup({ kind: "postgres.insert", config: { connection: "warehouse", table, ...config }, connection: database.connection }, records, rest);

/** Into table `t` by its `id`. */
export const upsert = (database: Database, records: readonly SinkRecord[], config: JsonObject = {}): SinkGroup =>
  testGroup(
    { kind: "postgres.upsert", config: { connection: "warehouse", table: "t", key: ["id"], ...config }, connection: database.connection },
    records,
  );

/** By record number: the outcome's kind, or the code of the failure. */
export const kinds = (outcomes: WriteOutcomes): Record<number, string> =>
  Object.fromEntries([...outcomes].map(([n, o]) => [n, o.kind === "failed" ? o.code : o.kind]));

export const messageOf = (outcomes: WriteOutcomes, n: number): string => {
  const outcome = outcomes.get(n);
  return outcome?.kind === "failed" ? outcome.message : `not failed but ${outcome?.kind}`;
};

export async function waitFor<T>(what: string, read: () => Promise<T>, done: (value: T) => boolean): Promise<T> {
  for (const end = Date.now() + 10_000; ; ) {
    const value = await read();
    if (done(value)) return value;
    if (Date.now() > end) throw new Error(`${what}: still ${JSON.stringify(value)}`);
    await new Promise((wake) => setTimeout(wake, 10));
  }
}

/** Of the writer's own sessions. */
export const waitForLockWaiters = (database: Database, count: number): Promise<number> =>
  waitFor(
    "sessions waiting for a lock",
    async () =>
      Number(
        (
          await database.sql`select count(*) from pg_stat_activity where datname = current_database() and application_name = 'onedata sink' and wait_event_type = 'Lock'`
        )[0]?.["count"],
      ),
    (n) => n === count,
  );
