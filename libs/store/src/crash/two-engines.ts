/** Two engines over one database, an administrator who never crashes, and what must hold after them. Registers the file's hooks. */
import { randomUUID } from "node:crypto";
import type { PipelineId } from "@onedata/core";
import { afterAll, beforeAll, expect } from "vitest";
import { captureGroup } from "../capture.ts";
import type { CaptureTarget } from "../capture-batches.ts";
import { openStore, type Store } from "../connection.ts";
import { reclaim, registerEngine } from "../lease.ts";
import { ensureLedger } from "../ledger.ts";
import { createTestPipeline, createTestTenant, openTestDatabase, type TestDatabase, untilServerIsOld } from "../testing.ts";
import { BYTE, INSTALLATION, type Kind } from "./model-engine.ts";

/** Batches in the order of their capture; no record of an ordered lane asks for a retry. */
export type Layout = { readonly plain: readonly (readonly Kind[])[]; readonly ordered: readonly (readonly Exclude<Kind, "retry">[])[] };

/** A little of everything. */
export const LAYOUT: Layout = {
  plain: [["ok", "dead", "retry"], ["filter", "ok"], ["retry"]],
  ordered: [["ok", "ok"], ["ok", "dead"], ["ok", "filter", "ok"], ["ok"]],
};

export const ENGINES = [randomUUID(), randomUUID()] as const;
const ORDERED_KEYS = ["a", "customer-42"];

let database: TestDatabase;
export let stores: readonly [Store, Store];
/** Outside the engines: never crashes. */
export let admin: Store;
let tenantId: CaptureTarget["tenantId"];

export function useTwoEngines(): void {
  beforeAll(async () => {
    database = await openTestDatabase();
    admin = openStore(database.url);
    stores = [openStore(database.url, { applicationName: "engine-0" }), openStore(database.url, { applicationName: "engine-1" })];
    tenantId = await createTestTenant(admin.sql);
    for (const incarnation of ENGINES) await registerEngine(admin, { incarnation, slots: 2, leaseMs: 3_600_000 });
    await ensureLedger(admin.sql);
    await admin.sql`create table sink_rows (id bigint generated always as identity, pipeline_id bigint, key text, position int)`;
    await untilServerIsOld(admin);
  });
  afterAll(async () => {
    for (const store of [...stores, admin]) await store[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
  });
}

/** What a dead engine held comes back: its rows are backdated, nobody sleeps. */
export async function expireAll(): Promise<void> {
  await admin.sql`update onedata.queue set run_deadline = now() - interval '1 hour' where run_id is not null`;
  await reclaim(admin);
}

/** Captures all batches of a layout; gives what each pipeline got. */
export async function captureLayout(layout: Layout): Promise<Map<PipelineId, Kind[]>> {
  const store = admin;
  const plain = await createTestPipeline(store.sql, { tenantId });
  const ordered = await createTestPipeline(store.sql, { tenantId, ordering: "key" });
  const expected = new Map<PipelineId, Kind[]>([
    [plain.pipelineId, []],
    [ordered.pipelineId, []],
  ]);
  const send = async (pipelineId: PipelineId, kinds: readonly Kind[], orderingKey: string | undefined): Promise<void> => {
    const list = expected.get(pipelineId) ?? [];
    const events = kinds.map((kind) => ({
      payload: JSON.stringify({ kind, position: list.push(kind) - 1 }),
      ...(orderingKey === undefined ? {} : { orderingKey }),
    }));
    const target: CaptureTarget = { tenantId, pipelineId, version: 1, laneClass: "live", ordered: orderingKey !== undefined };
    const outcomes = await captureGroup(store, [{ target, events }]);
    expect(outcomes.flat().every(({ kind }) => kind === "captured")).toBe(true);
  };
  for (const kinds of layout.plain) await send(plain.pipelineId, kinds, undefined);
  for (const [i, kinds] of layout.ordered.entries()) await send(ordered.pipelineId, kinds, ORDERED_KEYS[i % ORDERED_KEYS.length]);
  return expected;
}

/** One verdict each, every effect once, ledger and outputs as the verdicts say, nothing left in the queue, the order of each key kept. */
export async function check(pipelineId: PipelineId, kinds: readonly Kind[]): Promise<void> {
  const { sql } = admin;
  const buried = new Set(
    (
      await sql<{ position: number }[]>`
      select (payload::json->>'position')::int as position from onedata.dead_letters where pipeline_id = ${pipelineId} and code = 'record.crashes'`
    ).map(({ position }) => position),
  );
  const positions = (wanted: readonly Kind[]): number[] => kinds.flatMap((kind, i) => (wanted.includes(buried.has(i) ? "dead" : kind) ? [i] : []));
  /** An engine may have died after the write of what is buried now: its effect stands, once. */
  const unburied = (list: readonly unknown[]): unknown[] => list.filter((position) => !buried.has(Number(position)));
  const numbers = (rows: readonly Record<string, unknown>[]): unknown[] => rows.map((row) => row["position"]);
  expect(
    await sql`select 1 from onedata.queue q join onedata.lanes l on l.id = q.lane_id where l.pipeline_id = ${pipelineId}`,
    "queue is empty",
  ).toHaveLength(0);
  expect(
    await sql`select r.lane_id from onedata.lane_runs r join onedata.lanes l on l.id = r.lane_id where l.pipeline_id = ${pipelineId} and r.run_id is not null`,
    "lanes are free",
  ).toHaveLength(0);
  const verdicts = await sql<{ position: number; bytes: number[] }[]>`
    select (e.payload::json->>'position')::int as position, array_agg(get_byte(r.verdicts, e.n) order by r.attempt) filter (where octet_length(r.verdicts) > e.n and get_byte(r.verdicts, e.n) <> 0) as bytes
      from onedata.batches b join onedata.events e on e.batch_id = b.id left join onedata.runs r on r.batch_id = b.id where b.pipeline_id = ${pipelineId} group by 1 order by 1`;
  expect(
    verdicts.map(({ bytes }) => bytes),
    "one verdict each",
  ).toEqual(kinds.map((kind, i) => [BYTE[buried.has(i) ? "dead" : kind]]));
  const effects = numbers(await sql`select position from sink_rows where pipeline_id = ${pipelineId} order by position`);
  expect(unburied(effects), "effects once").toEqual(positions(["ok", "retry"]));
  expect(new Set(effects).size, "no effect twice").toBe(effects.length);
  expect(
    numbers(await sql`select (payload::json->>'position')::int as position from onedata.dead_letters where pipeline_id = ${pipelineId} order by 1`),
    "dead letters once",
  ).toEqual(positions(["dead"]));
  const outputs =
    await sql`select (p::json->>'position')::int as position from onedata.outputs o, string_to_table(o.payloads, E'\x1e') p where o.pipeline_id = ${pipelineId} order by 1`;
  expect(numbers(outputs), "outputs once").toEqual(positions(["ok", "retry"]));
  const ledger = await sql`
    select (e.payload::json->>'position')::int as position from onedata.batches b join onedata.events e on e.batch_id = b.id
      join onedata_applied a on a.installation = ${INSTALLATION} and a.batch_id = b.id and a.done @> e.n where b.pipeline_id = ${pipelineId} order by 1`;
  expect(unburied(numbers(ledger)), "the ledger agrees").toEqual(positions(["ok", "retry", "filter"]));
  for (const key of ORDERED_KEYS) {
    const order = numbers(await sql`select position from sink_rows where pipeline_id = ${pipelineId} and key = ${key} order by id`);
    expect(order, `order of key ${key}`).toEqual([...order].sort((a, b) => Number(a) - Number(b)));
  }
}
