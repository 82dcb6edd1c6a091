/**
 * Which old rows are still needed, and the table that keeps them when their days go.
 *
 * Still needed, of everything below a bound:
 * 1. whole batches: those in the queue (a paused pipeline, a service that is down), those that were done after the cutoff, since retention counts from then, and
 *    those with results that no file holds yet (`unexported.ts`);
 * 2. single events, with their batch and its runs: what a queued replay or backfill points at, what an open job has still to take, what an open dead letter
 *    came from (it could not be replayed without).
 */
import type { Transaction } from "../connection.ts";
import { EVENT_TABLES, type EventTable, eventTables, quote } from "./partitions.ts";
import { FILE_PLACES, unexportedOf } from "./unexported.ts";

export type Victims = { readonly [T in EventTable]: readonly string[] };

export type Held = { readonly [T in EventTable]: number };

/** What came of it: how many rows are held, and which of the victims hold them, so that they stay. */
export type Holding = { readonly held: Held; readonly kept: readonly string[] };

/** Held rows of earlier drops are copied when less than this share of their batches is needed still: else they stay where they are, however many they are. */
const WORTH_KEEPING = 0.25;

/**
 * Inside a transaction: sees to one table per partitioned table with what is still needed of the victims, and attaches it as everything below `upper`; nothing
 * is attached when nothing is needed. What an earlier drop held lies in such a table already: that one is cleaned and goes on, so a large backlog costs a look and not
 * a copy a day. Reads and writes of the parents go on. `runs` is attached with the others by the commit.
 */
export async function holdNeeded(
  tx: Transaction,
  { victims, upper, cutoff, suffix }: { victims: Victims; upper: bigint; cutoff: Date; suffix: string },
): Promise<Holding> {
  await findNeeded(tx, { victims, upper, cutoff });
  const [needed] = await tx<{ any: boolean }[]>`select exists (select from needed_whole) or exists (select from needed_single) as any`;
  const held = { runs: 0, outputs: 0, batch_refs: 0, events: 0, batches: 0 };
  if (needed?.any !== true) return { held, kept: [] };
  const earlier = await findEarlier(tx, victims);
  const tables = earlier ?? (await createTables(tx, suffix));
  for (const parent of eventTables) {
    const table = tables[parent];
    if (earlier !== undefined) {
      await liftBounds(tx, parent, table);
      await deleteUnneeded(tx, parent, table);
    }
    for (const victim of victims[parent]) if (victim !== table) await copyNeeded(tx, parent, { victim, table });
    const [count] = await tx.unsafe<{ rows: number }[]>(`select count(*)::float8 as rows from onedata.${quote(table)}`);
    held[parent] = count?.rows ?? 0;
  }
  for (const parent of [...eventTables].reverse()) await attach(tx, parent, { table: tables[parent], upper });
  return { held, kept: earlier === undefined ? [] : Object.values(earlier) };
}

type Tables = { readonly [T in EventTable]: string };

/** The tables of held rows among the victims, when they are there and worth keeping. */
async function findEarlier(tx: Transaction, victims: Victims): Promise<Tables | undefined> {
  const find = (parent: EventTable): string => victims[parent].find((table) => table.startsWith(`${parent}_h`)) ?? "";
  const tables = { runs: find("runs"), outputs: find("outputs"), batch_refs: find("batch_refs"), events: find("events"), batches: find("batches") };
  if (Object.values(tables).includes("")) return undefined;
  const [share] = await tx.unsafe<{ needed: number | null }[]>(`
    select avg((exists (select from needed_whole w where w.batch_id = b.id) or exists (select from needed_single s where s.batch_id = b.id))::int)::float8 as needed
      from onedata.${quote(tables.batches)} b`);
  return (share?.needed ?? 0) >= WORTH_KEEPING ? tables : undefined;
}

async function createTables(tx: Transaction, suffix: string): Promise<Tables> {
  const name = (parent: EventTable): string => `${parent}_h${suffix}`;
  for (const parent of eventTables)
    await tx.unsafe(
      `create table onedata.${quote(name(parent))} (like onedata.${quote(parent)} including defaults including constraints including storage including compression)`,
    );
  return { runs: name("runs"), outputs: name("outputs"), batch_refs: name("batch_refs"), events: name("events"), batches: name("batches") };
}

/** Of a partitioned table and the tables that have left it. */
const everywhere = (parent: EventTable, victims: Victims): string =>
  `(${[parent, ...victims[parent]].map((table) => `select * from onedata.${quote(table)}`).join(" union all ")})`;

async function findNeeded(tx: Transaction, { victims, upper, cutoff }: { victims: Victims; upper: bigint; cutoff: Date }): Promise<void> {
  const refs = everywhere("batch_refs", victims);
  const doneLate = victims.runs.map((table) => `select batch_id from onedata.${quote(table)} where ended_at >= '${cutoff.toISOString()}'`);
  await tx.unsafe("create temp table needed_whole (batch_id bigint primary key) on commit drop");
  await tx.unsafe("create temp table needed_single (batch_id bigint, n int, primary key (batch_id, n)) on commit drop");
  const unexported = `select o.batch_id from ${unexportedOf(everywhere("outputs", victims), everywhere("runs", victims))} where o.batch_id < ${upper}`;
  const whole = [`select batch_id from onedata.queue where batch_id < ${upper}`, unexported, ...doneLate];
  await tx.unsafe(`insert into needed_whole with ${FILE_PLACES} ${whole.join(" union ")}`);
  await tx.unsafe(`
    insert into needed_single
    select r.src_batch_id, r.src_n from onedata.queue q join ${refs} r on r.batch_id = q.batch_id where q.kind <> 'capture' and r.src_batch_id < ${upper}
    union
    select i.src_batch_id, i.src_n from onedata.jobs j join onedata.job_items i on i.job_id = j.id
     where j.state in ('preparing', 'running') and i.src_batch_id < ${upper}
    union
    select d.batch_id, d.n from onedata.dead_letters d where d.state in ('open', 'replaying') and d.batch_id < ${upper}
    union
    select r.src_batch_id, r.src_n from onedata.dead_letters d join ${refs} r on r.batch_id = d.batch_id and r.n = d.n
     where d.state in ('open', 'replaying') and r.src_batch_id < ${upper}`);
  await tx.unsafe("analyze needed_whole");
  await tx.unsafe("analyze needed_single");
}

const SINGLE_EVENTS = new Set<EventTable>(["events", "batch_refs"]);

/** That a row of this table belongs to a single event that is needed, its batch or its runs. Only whole batches have outputs that somebody may still read. */
const isSingle = (parent: EventTable): string =>
  parent === "outputs"
    ? "false"
    : `exists (select from needed_single s where s.batch_id = v.${EVENT_TABLES[parent]}${SINGLE_EVENTS.has(parent) ? " and s.n = v.n" : ""})`;

const isNeeded = (parent: EventTable): string =>
  `(exists (select from needed_whole w where w.batch_id = v.${EVENT_TABLES[parent]}) or ${isSingle(parent)})`;

async function copyNeeded(tx: Transaction, parent: EventTable, { victim, table }: { victim: string; table: string }): Promise<void> {
  await tx.unsafe(`insert into onedata.${quote(table)} select v.* from onedata.${quote(victim)} v where ${isNeeded(parent)}`);
}

/** Taken out concurrently, a partition gets a check that its rows lie within the bounds it had. */
async function liftBounds(tx: Transaction, parent: EventTable, table: string): Promise<void> {
  const checks = await tx.unsafe<{ name: string }[]>(`
    select conname as name from pg_constraint where conrelid = 'onedata.${quote(table)}'::regclass and contype = 'c'
       and conname not in (select conname from pg_constraint where conrelid = 'onedata.${quote(parent)}'::regclass)`);
  for (const { name } of checks) await tx.unsafe(`alter table onedata.${quote(table)} drop constraint ${quote(name)}`);
}

async function deleteUnneeded(tx: Transaction, parent: EventTable, table: string): Promise<void> {
  await tx.unsafe(`delete from onedata.${quote(table)} v where not ${isNeeded(parent)}`);
}

async function attach(tx: Transaction, parent: EventTable, { table, upper }: { table: string; upper: bigint }): Promise<void> {
  await tx.unsafe(`alter table onedata.${quote(parent)} attach partition onedata.${quote(table)} for values from (minvalue) to (${upper})`);
  await tx.unsafe(`analyze onedata.${quote(table)}`);
}
