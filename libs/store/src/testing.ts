/**
 * Databases and rows for tests. `openTestDatabase()` clones a migrated template on the shared test server (or on `TEST_DATABASE_URL`), ~50 ms.
 * Non-duty: production code never imports this.
 */
import { randomUUID } from "node:crypto";
import { type PipelineId, type TenantId, toPipelineId, toTenantId } from "@onedata/core";
import postgres from "postgres";
import type { Sql } from "./connection.ts";
import { joinTestServer, withDatabase } from "./test-server.ts";

export interface TestDatabase extends AsyncDisposable {
  /** Superuser URL. */
  readonly url: string;
  readonly name: string;
}

/** An own, migrated database; disposing drops it and ends whoever is still connected. */
export async function openTestDatabase(): Promise<TestDatabase> {
  const server = await joinTestServer(process.env["TEST_DATABASE_URL"]);
  const name = `test_${process.pid}_${randomUUID().slice(0, 8)}`;
  await administer(server.url, `create database ${name} template ${server.template}`);
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
