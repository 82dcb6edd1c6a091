/** Imports as people read them, and their cancellation. Receiving one is the gateway's business. */
import { OneDataError, type TenantId, toPipelineId } from "@onedata/core";
import type { Sql, Transaction } from "../connection.ts";
import { restartImportWindow } from "../self-pause.ts";
import { unparkImport } from "../stopped-imports.ts";
import { type Actor, recordChange } from "./audit.ts";
import { getPipeline } from "./pipelines.ts";

export type ImportState = "receiving" | "interrupted" | "processing" | "stopped" | "done" | "cancelled" | "failed";

export type ImportProgress = {
  readonly id: bigint;
  readonly pipeline: string;
  readonly state: ImportState;
  readonly reason: string | undefined;
  readonly accepted: number;
  readonly rejected: number;
  readonly delivered: number;
  readonly filtered: number;
  readonly dead: number;
  /** Where a cut-off upload goes on: decompressed bytes and lines that are committed. */
  readonly sourceBytes: number;
  readonly sourceLines: number;
  readonly createdAt: Date;
  readonly finishedAt: Date | undefined;
  /** Who paused its pipeline, when and why; undefined unless it is paused. */
  readonly paused: { readonly by: string | undefined; readonly at: Date; readonly reason: string | undefined } | undefined;
};

export type RejectRow = { readonly line: number; readonly code: string; readonly message: string; readonly excerpt: string };

const notFound = (): OneDataError => new OneDataError("import.not_found", "no import with this id");

export async function getImportProgress(sql: Sql | Transaction, tenantId: TenantId, id: bigint): Promise<ImportProgress> {
  const [row] = await selectImports(sql, tenantId, { id });
  if (row === undefined) throw notFound();
  return row;
}

/** Newest first; an empty `pipeline` is all of the tenant. */
export async function listImportProgress(
  sql: Sql,
  tenantId: TenantId,
  page: { pipeline: string; limit: number; before: bigint | undefined },
): Promise<ImportProgress[]> {
  const pipelineId = page.pipeline === "" ? undefined : (await getPipeline(sql, tenantId, page.pipeline)).id;
  return selectImports(sql, tenantId, { pipelineId, limit: page.limit, before: page.before });
}

/** The gateway sees the state at its next commit and takes no more lines. Cancelling twice is fine; an import that was received whole cannot be cancelled. */
export async function cancelImport(sql: Sql, tenantId: TenantId, actor: Actor, id: bigint): Promise<ImportProgress> {
  return sql.begin(async (tx) => {
    const [row] = await tx<{ state: string }[]>`select state from onedata.imports where tenant_id = ${tenantId} and id = ${id} for update`;
    if (row === undefined) throw notFound();
    if (row.state === "received")
      throw new OneDataError("import.conflict", "the import was received whole; pause or discard the pipeline's backlog instead");
    if (row.state !== "cancelled") {
      const reason = `cancelled by ${actor.name}`;
      await tx`update onedata.imports set state = 'cancelled', reason = ${reason}, updated_at = now() where tenant_id = ${tenantId} and id = ${id}`;
      await recordChange(tx, tenantId, actor, { action: "CancelImport", subject: `imports/${id}` });
    }
    return getImportProgress(tx, tenantId, id);
  });
}

/** Goes on with an import that stopped itself; what waits of it runs again, and its deaths are counted anew. Resuming one that runs changes nothing. */
export async function resumeImport(sql: Sql, tenantId: TenantId, actor: Actor, id: bigint): Promise<ImportProgress> {
  return sql.begin(async (tx) => {
    const [row] = await tx<{ pipeline_id: bigint; is_stopped: boolean }[]>`
      select pipeline_id, stopped_at is not null as is_stopped from onedata.imports where tenant_id = ${tenantId} and id = ${id} for update`;
    if (row === undefined) throw notFound();
    if (row.is_stopped) {
      await tx`update onedata.imports set stopped_at = null, stop_reason = null, updated_at = now() where tenant_id = ${tenantId} and id = ${id}`;
      await restartImportWindow(tx, id);
      await recordChange(tx, tenantId, actor, { action: "ResumeImport", subject: `imports/${id}` });
    }
    await unparkImport(tx, tenantId, { pipelineId: toPipelineId(row.pipeline_id), importId: id });
    return getImportProgress(tx, tenantId, id);
  });
}

/** Pages of rejected lines in order, until there are no more. */
export async function* listRejects(sql: Sql, tenantId: TenantId, id: bigint, signal?: AbortSignal): AsyncGenerator<RejectRow> {
  const found = await getImportProgress(sql, tenantId, id);
  let after = -1n;
  while (signal?.aborted !== true) {
    const rows = await sql<{ line: bigint; code: string; message: string; raw: string | null }[]>`
      select line, code, message, raw from onedata.import_rejects where import_id = ${found.id} and line > ${after} order by line limit 500`;
    for (const row of rows) yield { line: Number(row.line), code: row.code, message: row.message, excerpt: row.raw ?? "" };
    const last = rows.at(-1);
    if (last === undefined || rows.length < 500) return;
    after = last.line;
  }
}

/** For the sweep, over all tenants: notes the time when the last event of an import that was received whole is final. Returns how many. */
export async function finishImports(sql: Sql): Promise<number> {
  const result = await sql`
    update onedata.imports i set finished_at = now() where i.state = 'received' and i.finished_at is null
       and i.accepted <= (select coalesce(sum(t.delivered + t.filtered + t.dead), 0) from onedata.tallies t where t.owner_id = i.id)`;
  return result.count;
}

async function selectImports(
  sql: Sql | Transaction,
  tenantId: TenantId,
  which: { id: bigint } | { pipelineId: bigint | undefined; limit: number; before: bigint | undefined },
): Promise<ImportProgress[]> {
  const condition =
    "id" in which
      ? sql`i.id = ${which.id}`
      : sql`i.id < ${which.before ?? 9223372036854775807n} ${which.pipelineId === undefined ? sql`` : sql`and i.pipeline_id = ${which.pipelineId}`}`;
  const rows = await sql<ImportRecord[]>`
    select i.id, coalesce(p.name, '') as pipeline, i.state, coalesce(i.stop_reason, i.reason) as reason, i.stopped_at is not null as is_stopped, i.accepted, i.rejected, i.source_bytes, i.source_lines, i.created_at, i.finished_at,
           p.state as pipeline_state, p.reason as pipeline_reason, p.state_changed_by, p.state_changed_at,
           coalesce(t.delivered, 0)::bigint as delivered, coalesce(t.filtered, 0)::bigint as filtered, coalesce(t.dead, 0)::bigint as dead
      from onedata.imports i
      left join onedata.pipelines p on p.id = i.pipeline_id
      left join lateral (select sum(delivered) as delivered, sum(filtered) as filtered, sum(dead) as dead from onedata.tallies where owner_id = i.id) t on true
     where i.tenant_id = ${tenantId} and ${condition} order by i.id desc limit ${"limit" in which ? which.limit : 1}`;
  return rows.map((row) => ({
    id: row.id,
    pipeline: row.pipeline,
    state: toState(row),
    reason: row.reason ?? undefined,
    accepted: Number(row.accepted),
    rejected: Number(row.rejected),
    delivered: Number(row.delivered),
    filtered: Number(row.filtered),
    dead: Number(row.dead),
    sourceBytes: Number(row.source_bytes),
    sourceLines: Number(row.source_lines),
    createdAt: row.created_at,
    finishedAt: row.finished_at ?? undefined,
    paused:
      row.pipeline_state === "paused" && row.state_changed_at !== null
        ? { by: row.state_changed_by ?? undefined, at: row.state_changed_at, reason: row.pipeline_reason ?? undefined }
        : undefined,
  }));
}

function toState(row: ImportRecord): ImportState {
  if (row.is_stopped && (row.state === "received" || row.state === "receiving")) return "stopped";
  if (row.state !== "received") return row.state;
  return row.delivered + row.filtered + row.dead >= row.accepted ? "done" : "processing";
}

type ImportRecord = {
  id: bigint;
  pipeline: string;
  state: "receiving" | "received" | "interrupted" | "failed" | "cancelled";
  reason: string | null;
  is_stopped: boolean;
  accepted: bigint;
  rejected: bigint;
  source_bytes: bigint;
  source_lines: bigint;
  delivered: bigint;
  filtered: bigint;
  dead: bigint;
  created_at: Date;
  finished_at: Date | null;
  pipeline_state: string | null;
  pipeline_reason: string | null;
  state_changed_by: string | null;
  state_changed_at: Date | null;
};
