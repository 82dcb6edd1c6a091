/** Which dead letters a list, a replay or a discard is about. */
import { OneDataError, type PipelineId, type TenantId, toPipelineId } from "@onedata/core";
import type { Sql, Transaction } from "../connection.ts";
import { getPipeline, type PipelineRow } from "./pipelines.ts";
import { toArray } from "./sql-array.ts";

/** Absent or empty members say nothing. */
export type DeadLetterFilter = {
  readonly pipeline?: string;
  readonly fingerprint?: string;
  readonly code?: string;
  readonly step?: string;
  readonly sink?: string;
  readonly version?: number;
  readonly since?: Date | undefined;
  readonly until?: Date | undefined;
  readonly ids?: readonly bigint[];
};

export type Fragment = ReturnType<Sql>;

const LAST_ID_MS = Date.UTC(2200, 0, 1);

/** Ids have room for times from 1970 to 2248: what lies outside is moved to an end. */
export const withinIds = (time: Date): Date => new Date(Math.min(Math.max(time.getTime(), 0), LAST_ID_MS));

/** `and ...` for the tenant and each condition but the pipeline, over `onedata.dead_letters d`. */
export function toConditions(sql: Sql | Transaction, tenantId: TenantId, filter: DeadLetterFilter): Fragment {
  const { fingerprint = "", code = "", step = "", sink = "", version = 0, since, until, ids = [] } = filter;
  return sql`
    and d.tenant_id = ${tenantId}
    ${fingerprint === "" ? sql`` : sql`and d.fingerprint = ${fingerprint}`}
    ${code === "" ? sql`` : sql`and d.code = ${code}`}
    ${step === "" ? sql`` : sql`and d.step = ${step} and d.sink is null`}
    ${sink === "" ? sql`` : sql`and d.sink = ${sink}`}
    ${version === 0 ? sql`` : sql`and d.version = ${version}::bigint`}
    ${since === undefined ? sql`` : sql`and d.id >= onedata.id_at(${withinIds(since)})`}
    ${until === undefined ? sql`` : sql`and d.id < onedata.id_at(${withinIds(until)})`}
    ${ids.length === 0 ? sql`` : sql`and d.id = any(${toArray(ids)}::bigint[])`}`;
}

/** Throws `request.invalid` for a filter without a condition: nobody means "all of the tenant". */
export function requireCondition({
  pipeline = "",
  fingerprint = "",
  code = "",
  step = "",
  sink = "",
  version = 0,
  since,
  until,
  ids = [],
}: DeadLetterFilter): void {
  const texts = [pipeline, fingerprint, code, step, sink];
  if (texts.some((text) => text !== "") || version > 0 || since !== undefined || until !== undefined || ids.length > 0) return;
  const detail = "name at least one: pipeline, fingerprint, code, step, sink, version, since, until or ids";
  throw new OneDataError("request.invalid", `the filter has no condition; ${detail}`, {
    violations: [{ pointer: "/filter", code: "required", detail }],
  });
}

const NOTHING_MET = "no open dead letters meet the filter, in any pipeline that still exists; those of a removed pipeline can only be discarded";

/** What letters belong to; `name` is undefined when the pipeline was removed. */
export type LettersOwner = { readonly id: PipelineId; readonly name: string | undefined };

/**
 * As `resolvePipeline`; when no pipeline that exists has such letters, a removed one that has: its letters stay until retention, and outlive its name, so
 * they are found by their other conditions.
 */
export async function resolveOwner(sql: Sql | Transaction, tenantId: TenantId, filter: DeadLetterFilter): Promise<LettersOwner> {
  try {
    return await resolvePipeline(sql, tenantId, filter);
  } catch (error) {
    if (OneDataError.from(error).code !== "deadletter.not_found") throw error;
  }
  const states = (filter.ids ?? []).length > 0 ? sql`` : sql`and d.state = 'open'`;
  // From one pipeline to the next by the index: however many letters there are.
  const rows = await sql<{ id: bigint }[]>`
    with recursive owner as (
      select (select min(d.pipeline_id) from onedata.dead_letters d where d.tenant_id = ${tenantId}) as id
      union all
      select (select min(d.pipeline_id) from onedata.dead_letters d where d.tenant_id = ${tenantId} and d.pipeline_id > o.id) from owner o where o.id is not null
    ) select o.id from owner o
       where o.id is not null and not exists (select from onedata.pipelines p where p.id = o.id and p.tenant_id = ${tenantId})
         and exists (select from onedata.dead_letters d where d.tenant_id = ${tenantId} and d.pipeline_id = o.id ${states} ${toConditions(sql, tenantId, filter)}) limit 2`;
  const [first, ...others] = rows;
  if (first === undefined) throw new OneDataError("deadletter.not_found", "no open dead letters meet the filter");
  if (others.length > 0) {
    const detail = "name a fingerprint, or ids";
    throw new OneDataError("request.invalid", `the filter meets dead letters of more than one removed pipeline, and a job is of one; ${detail}`, {
      violations: [{ pointer: "/filter/fingerprint", code: "required", detail }],
    });
  }
  return { id: toPipelineId(first.id), name: undefined };
}

/** The one pipeline of the letters that meet the filter. Throws when there is none, or more than one. */
export async function resolvePipeline(sql: Sql | Transaction, tenantId: TenantId, filter: DeadLetterFilter): Promise<PipelineRow> {
  requireCondition(filter);
  if (filter.pipeline !== undefined && filter.pipeline !== "") return getPipeline(sql, tenantId, filter.pipeline);
  const states = (filter.ids ?? []).length > 0 ? sql`` : sql`and d.state = 'open'`;
  const rows = await sql<{ name: string }[]>`
    select p.name from onedata.pipelines p where p.tenant_id = ${tenantId} and exists (
      select from onedata.dead_letters d where d.tenant_id = ${tenantId} and d.pipeline_id = p.id ${states} ${toConditions(sql, tenantId, filter)}) order by p.name limit 4`;
  const [first, ...others] = rows;
  if (first === undefined) throw new OneDataError("deadletter.not_found", NOTHING_MET);
  if (others.length > 0)
    throw new OneDataError(
      "request.invalid",
      `the filter meets dead letters of ${rows.map(({ name }) => name).join(", ")}; a job is of one pipeline`,
      {
        violations: [{ pointer: "/filter/pipeline", code: "required", detail: "name one of them" }],
      },
    );
  return getPipeline(sql, tenantId, first.name);
}

export type Matching = {
  /** Events that a job would get. */
  readonly events: number;
  /** Letters that a job would get. */
  readonly open: number;
  /** Letters that it would find taken: another job has them, or, of those named by id, they are open no more. */
  readonly taken: number;
};

/** What a job over the filter would find now, up to the given letter. */
export async function countMatching(
  sql: Sql | Transaction,
  tenantId: TenantId,
  { pipelineId, filter, upTo }: { readonly pipelineId: PipelineId; readonly filter: DeadLetterFilter; readonly upTo: bigint },
): Promise<Matching> {
  const states = (filter.ids ?? []).length > 0 ? sql`` : sql`and d.state in ('open', 'replaying')`;
  const [row] = await sql<Matching[]>`
    select count(*) filter (where state = 'open')::int as open, count(*) filter (where state <> 'open')::int as taken,
           count(distinct (batch_id, n)) filter (where state = 'open')::int as events
      from onedata.dead_letters d where d.tenant_id = ${tenantId} and d.pipeline_id = ${pipelineId} and d.id <= ${upTo} ${states} ${toConditions(sql, tenantId, filter)}`;
  return { events: row?.events ?? 0, open: row?.open ?? 0, taken: row?.taken ?? 0 };
}
