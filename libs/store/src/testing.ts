/**
 * Databases and rows for tests. `openTestDatabase()` clones a migrated template on the shared test server (or on the one that `ONEDATA_TEST_POSTGRES` names).
 * Non-duty: production code never imports this.
 */
import { randomUUID } from "node:crypto";
import { type PipelineId, type TenantId, toPipelineId, toTenantId } from "@onedata/core";
import postgres from "postgres";
import type { Sql, Store } from "./connection.ts";
import { reclaim } from "./lease.ts";
import { joinTestServer, readTestServerUrl, withDatabase } from "./test-server.ts";

export { holdCrashRecovery } from "./crash/hold-recovery.ts";
export { ageEvent } from "./retention/testing.ts";

export interface TestDatabase extends AsyncDisposable {
  /** Superuser URL. */
  readonly url: string;
  readonly name: string;
}

/** An own, migrated database; disposing drops it and ends whoever is still connected. */
export async function openTestDatabase(): Promise<TestDatabase> {
  const server = await joinTestServer(readTestServerUrl());
  const name = `test_${process.pid}_${randomUUID().slice(0, 8)}`;
  // Copied file by file: block by block costs twice as much for some hundred small tables.
  await administer(server.url, `create database ${name} template ${server.template} strategy file_copy`);
  return {
    url: withDatabase(server.url, name),
    name,
    [Symbol.asyncDispose]: () => administer(server.url, `drop database if exists ${name} with (force)`),
  };
}

async function administer(url: string, statement: string): Promise<void> {
  const sql = postgres(url, { max: 1, onnotice: () => undefined });
  try {
    await sql.unsafe(statement);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

/** Deadlines of runs count from ten seconds after the server was ready at the earliest: resolves when that is over. Keeps looking, as an engine does. */
export async function untilServerIsOld(store: Store): Promise<void> {
  for (;;) {
    await reclaim(store);
    const [row] = await store.sql<{ old: boolean }[]>`select onedata.server_ready_at() + interval '10 seconds' < clock_timestamp() as old`;
    if (row?.old === true) return;
    await new Promise((wake) => setTimeout(wake, 200));
  }
}

/**
 * Rows of tables of `onedata` whose name matches `like` that the statements of `work` read over `sql`, a client of one connection, in a database where nobody else
 * reads them: what a bound on work is checked by, instead of time.
 */
export async function countRowsRead(
  sql: Sql,
  like: string,
  work: () => Promise<unknown>,
): Promise<{ readonly rows: number; readonly byFullScan: number }> {
  const read = async (): Promise<{ rows: number; byFullScan: number }> => {
    await sql`select pg_stat_force_next_flush()`;
    const [row] = await sql<{ rows: number; full: number }[]>`
      select coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::float8 as rows, coalesce(sum(seq_tup_read), 0)::float8 as full
        from pg_stat_user_tables where schemaname = 'onedata' and relname like ${like}`;
    return { rows: row?.rows ?? 0, byFullScan: row?.full ?? 0 };
  };
  const before = await read();
  await work();
  const after = await read();
  return { rows: after.rows - before.rows, byFullScan: after.byFullScan - before.byFullScan };
}

export type TestPipelineOptions = {
  readonly tenantId?: TenantId;
  readonly name?: string;
  readonly route?: string;
  /** The expression of the ordering key: makes 16 ordered lanes per class. */
  readonly ordering?: string;
  readonly plan?: unknown;
  readonly weight?: number;
};

export async function createTestTenant(sql: Sql, name = `tenant-${randomUUID()}`): Promise<TenantId> {
  const [row] = await sql<{ id: bigint }[]>`insert into onedata.tenants (name) values (${name}) returning id`;
  if (row === undefined) throw new Error("no tenant row");
  return toTenantId(row.id);
}

/** A running pipeline with version 1 active and its lanes made. */
export async function createTestPipeline(
  sql: Sql,
  options: TestPipelineOptions = {},
): Promise<{ tenantId: TenantId; pipelineId: PipelineId; name: string }> {
  const tenantId = options.tenantId ?? (await createTestTenant(sql));
  const name = options.name ?? `pipeline-${randomUUID()}`;
  const [row] = await sql<{ id: bigint }[]>`
    insert into onedata.pipelines (tenant_id, name, active_version, ordering) values (${tenantId}, ${name}, 1, ${options.ordering ?? null}) returning id`;
  if (row === undefined) throw new Error("no pipeline row");
  await sql`insert into onedata.pipeline_versions (pipeline_id, version, hash, spec, plan, route)
    values (${row.id}, 1, 'test', '{}', ${JSON.stringify(options.plan ?? {})}::text::json, ${options.route ?? "record"})`;
  await sql`select onedata.make_lanes(${row.id})`;
  if (options.weight !== undefined) await sql`update onedata.lanes set weight = ${options.weight} where pipeline_id = ${row.id}`;
  return { tenantId, pipelineId: toPipelineId(row.id), name };
}
