/** The statements of an erasure: all rows of a tenant, table by table, a few thousand at a time. `erase.ts` has the rules. */
import type { TenantId } from "@onedata/core";
import type { Sql } from "../connection.ts";
import { quote } from "./partitions.ts";

export type ErasePace = { readonly endMs: number; readonly signal?: AbortSignal | undefined };

export type EraseTask = {
  /** Array literal of the ids of its pipelines. */
  readonly pipelines: string;
  readonly pace: ErasePace;
  /** Told of the rows of every statement. */
  readonly count: (rows: number) => Promise<void>;
};

const BATCHES_PER_STATEMENT = 200;
const ROWS_PER_STATEMENT = 2_000;

const mayGoOn = ({ endMs, signal }: ErasePace): boolean => signal?.aborted !== true && performance.now() < endMs;

/** Queue rows, then batches with all that hangs on them, found by pipeline. */
export async function eraseBatches(sql: Sql, tenantId: TenantId, { pipelines, pace, count }: EraseTask): Promise<void> {
  for (let erased = 1; erased > 0 && mayGoOn(pace); ) {
    const result = await sql`
      delete from onedata.queue where batch_id = any(array(
        select q.batch_id from onedata.lanes l join onedata.queue q on q.lane_id = l.id where l.tenant_id = ${tenantId} limit ${ROWS_PER_STATEMENT}))`;
    erased = result.count;
    await count(erased);
  }
  for (let erased = 1; erased > 0 && mayGoOn(pace); ) {
    const [row] = await sql<{ rows: number }[]>`
      with gone as materialized (
        select b.id from unnest(${pipelines}::bigint[]) p(id) cross join lateral (
          select id from onedata.batches where pipeline_id = p.id and tenant_id = ${tenantId} order by id limit ${BATCHES_PER_STATEMENT}) b limit ${BATCHES_PER_STATEMENT}
      ), queued as (delete from onedata.queue where batch_id = any(array(select id from gone)) returning 1
      ), events as (delete from onedata.events where batch_id = any(array(select id from gone)) returning 1
      ), runs as (delete from onedata.runs where batch_id = any(array(select id from gone)) returning 1
      ), outputs as (delete from onedata.outputs where batch_id = any(array(select id from gone)) returning 1
      ), refs as (delete from onedata.batch_refs where batch_id = any(array(select id from gone)) returning 1
      ), batches as (delete from onedata.batches where id = any(array(select id from gone)) returning 1)
      select ((select count(*) from queued) + (select count(*) from events) + (select count(*) from runs) + (select count(*) from outputs) + (select count(*) from refs)
            + (select count(*) from batches))::int as rows`;
    erased = row?.rows ?? 0;
    await count(erased);
  }
}

/** Rows that belong to a tenant through another row: before the other one goes. */
const THROUGH: readonly { readonly table: string; readonly column: string; readonly owners: string }[] = [
  { table: "import_rejects", column: "import_id", owners: "select id from onedata.imports where tenant_id = $1" },
  {
    table: "tallies",
    column: "owner_id",
    owners: "select id from onedata.imports where tenant_id = $1 union all select id from onedata.jobs where tenant_id = $1",
  },
  { table: "job_items", column: "job_id", owners: "select id from onedata.jobs where tenant_id = $1" },
  { table: "job_batches", column: "job_id", owners: "select id from onedata.jobs where tenant_id = $1" },
  { table: "lane_runs", column: "lane_id", owners: "select id from onedata.lanes where tenant_id = $1" },
  { table: "source_cursors", column: "source_id", owners: "select id from onedata.sources where tenant_id = $1" },
];
/** `batches` and what hangs on it have gone by pipeline; the last two go with the commit that ends the erasure. */
const ELSEWHERE = new Set(["tenants", "principals"]);

/** False when there was no time for all of it. */
export async function eraseRows(sql: Sql, tenantId: TenantId, { pipelines, pace, count }: EraseTask): Promise<boolean> {
  const erase = async (statement: string, parameter: string): Promise<boolean> => {
    for (;;) {
      if (!mayGoOn(pace)) return false;
      const result = await sql.unsafe(statement, [parameter]);
      await count(result.count);
      if (result.count < ROWS_PER_STATEMENT) return true;
    }
  };
  const rowsOf = (table: string, condition: string): string =>
    `delete from onedata.${quote(table)} where ctid = any(array(select ctid from onedata.${quote(table)} where ${condition} limit ${ROWS_PER_STATEMENT}))`;
  for (const { table, column, owners } of THROUGH)
    if (!(await erase(rowsOf(table, `${quote(column)} in (${owners})`), String(tenantId)))) return false;
  // Leaves, since a row's place is unique in its own table only. A tenant's key is the better condition where there are both.
  const tables = await sql<{ name: string; by_tenant: boolean }[]>`
    select c.relname as name, bool_or(a.attname = 'tenant_id') as by_tenant
      from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname in ('tenant_id', 'pipeline_id') and not a.attisdropped
     where c.relnamespace = 'onedata'::regnamespace and c.relkind = 'r' group by c.oid, c.relname order by c.relname = 'pipelines', c.relname`;
  for (const { name, by_tenant } of tables) {
    if (ELSEWHERE.has(name)) continue;
    const done = by_tenant
      ? await erase(rowsOf(name, "tenant_id = $1::bigint"), String(tenantId))
      : await erase(rowsOf(name, "pipeline_id = any($1::bigint[])"), pipelines);
    if (!done) return false;
  }
  return true;
}
