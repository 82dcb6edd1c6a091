/**
 * The row of an import while it is received; its chunks are `capture-import.ts`, what people read of it is `control/imports.ts`.
 * Invariant: the place in the source moves only with a chunk; here only the state and the format change, and only of an import that is not complete.
 */
import type { PipelineId, TenantId } from "@onedata/core";
import type { Sql } from "./connection.ts";

export type ReceivedImport = {
  readonly id: bigint;
  readonly state: "receiving" | "received" | "interrupted" | "failed" | "cancelled";
  readonly reason: string | undefined;
  /** JSON. */
  readonly format: string;
  readonly sourceBytes: bigint;
  readonly sourceLines: bigint;
  readonly prefixHash: string | undefined;
  readonly accepted: number;
  readonly rejected: number;
};

export type NewImport = {
  readonly pipelineId: PipelineId;
  readonly idempotencyKey: string | undefined;
  readonly name: string;
  readonly mediaType: string;
  readonly format: string;
  readonly createdBy: string;
};

type Row = {
  id: bigint;
  state: ReceivedImport["state"];
  reason: string | null;
  format: string;
  source_bytes: bigint;
  source_lines: bigint;
  prefix_hash: string | null;
  accepted: bigint;
  rejected: bigint;
};

const toImport = (row: Row): ReceivedImport => ({
  id: row.id,
  state: row.state,
  reason: row.reason ?? undefined,
  format: row.format,
  sourceBytes: row.source_bytes,
  sourceLines: row.source_lines,
  prefixHash: row.prefix_hash ?? undefined,
  accepted: Number(row.accepted),
  rejected: Number(row.rejected),
});

/** The new import, or the one that has this key already. */
export async function openImport(
  sql: Sql,
  tenantId: TenantId,
  given: NewImport,
): Promise<{ readonly found: ReceivedImport; readonly created: boolean }> {
  const [made] = await sql<Row[]>`
    insert into onedata.imports (tenant_id, pipeline_id, idempotency_key, name, media_type, format, created_by)
    values (${tenantId}, ${given.pipelineId}, ${given.idempotencyKey ?? null}, ${given.name}, ${given.mediaType}, ${given.format}::text::jsonb, ${given.createdBy})
    on conflict (tenant_id, pipeline_id, idempotency_key) do nothing
    returning id, state, reason, format::text, source_bytes, source_lines, prefix_hash, accepted, rejected`;
  if (made !== undefined) return { found: toImport(made), created: true };
  const existing = await findImportByKey(sql, tenantId, given.pipelineId, given.idempotencyKey ?? "");
  if (existing === undefined) throw new Error("an import with this key was there and is not");
  return { found: existing, created: false };
}

export async function findImportByKey(sql: Sql, tenantId: TenantId, pipelineId: PipelineId, key: string): Promise<ReceivedImport | undefined> {
  const [row] = await sql<Row[]>`
    select id, state, reason, format::text, source_bytes, source_lines, prefix_hash, accepted, rejected from onedata.imports
     where tenant_id = ${tenantId} and pipeline_id = ${pipelineId} and idempotency_key = ${key}`;
  return row === undefined ? undefined : toImport(row);
}

/** Waits for a chunk that is being committed, so the place that it reads is final: the answer after a COMMIT whose own answer was lost. */
export async function readSettledImport(sql: Sql, tenantId: TenantId, id: bigint): Promise<ReceivedImport | undefined> {
  const [row] = await sql<Row[]>`
    select id, state, reason, format::text, source_bytes, source_lines, prefix_hash, accepted, rejected from onedata.imports where tenant_id = ${tenantId} and id = ${id} for update`;
  return row === undefined ? undefined : toImport(row);
}

/** How its body is read, when the first line has said so. */
export async function setImportFormat(sql: Sql, tenantId: TenantId, id: bigint, format: string): Promise<void> {
  await sql`update onedata.imports set format = ${format}::text::jsonb where tenant_id = ${tenantId} and id = ${id}`;
}

/** The upload has stopped short. Leaves alone what another upload goes on with: that one has moved the place. */
export async function stopImport(
  sql: Sql,
  tenantId: TenantId,
  id: bigint,
  stop: { readonly state: "interrupted" | "failed"; readonly reason: string; readonly at: bigint },
): Promise<void> {
  await sql`
    update onedata.imports set state = ${stop.state}, reason = ${stop.reason}, updated_at = now(), finished_at = case when ${stop.state} = 'failed' then now() end
     where tenant_id = ${tenantId} and id = ${id} and state = 'receiving' and source_bytes = ${stop.at}`;
}

/** Says that the upload is alive though nothing is written, and why; the next chunk takes the reason away. */
export async function touchImport(sql: Sql, tenantId: TenantId, id: bigint, waitsFor?: string): Promise<void> {
  await sql`
    update onedata.imports set updated_at = now(), reason = coalesce(${waitsFor ?? null}, reason)
     where tenant_id = ${tenantId} and id = ${id} and state = 'receiving'`;
}

/** Imports whose gateway has died: nobody has touched them for `afterSeconds`. Of all tenants, as housekeeping is. */
export async function interruptSilentImports(sql: Sql, afterSeconds: number): Promise<number> {
  const rows = await sql`
    update onedata.imports set state = 'interrupted', reason = 'the upload was cut off', updated_at = now()
     where state = 'receiving' and updated_at < now() - make_interval(secs => ${afterSeconds}) returning id`;
  return rows.length;
}
