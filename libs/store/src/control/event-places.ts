/**
 * Where an event was run, for whoever asks what it wrote: its capture, or its replays, with what each of them was given and came to. Backfills are deliveries
 * of their own and not among them.
 */
import { type EventId, OneDataError, type TenantId } from "@onedata/core";
import type { Sql } from "../connection.ts";

export type EventPlace = {
  /** What was run: as captured, or as edited. */
  readonly payload: string;
  /** Of the run that decided; of the last one while none has. */
  readonly version: number;
  /** Of that version, as JSON. */
  readonly plan: string;
  /** The byte; 0 = none yet. */
  readonly verdict: number;
  /** Ids of the sinks it died at; "" for a step. */
  readonly diedAt: readonly string[];
  /** What OneData itself keeps of the results: by the place of the sink in the plan, JSON texts in order. */
  readonly stored: ReadonlyMap<number, readonly string[]>;
};

const RECORD_SEPARATOR = "\u001e";
const MAX_PLACES = 50;

/** Those that have begun and have the delivery number of the newest of them, oldest first: replays of what died add to what was delivered before. */
export async function readEventPlaces(sql: Sql, tenantId: TenantId, { batchId, n }: EventId): Promise<EventPlace[]> {
  const rows = await sql<Row[]>`
    with place as materialized (
      select b.id as batch_id, e.n, b.generation, b.pipeline_id, e.payload
        from onedata.batches b join onedata.events e on e.batch_id = b.id and e.n = ${n} where b.id = ${batchId} and b.tenant_id = ${tenantId}
      union all
      (select r.batch_id, r.n, b.generation, b.pipeline_id, coalesce(o.payload, e.payload)
         from onedata.batch_refs r join onedata.batches b on b.id = r.batch_id and b.tenant_id = ${tenantId} and b.kind = 'replay'
         join onedata.events e on e.batch_id = r.src_batch_id and e.n = r.src_n
         left join onedata.events o on o.batch_id = r.batch_id and o.n = r.n
        where r.src_batch_id = ${batchId} and r.src_n = ${n} order by r.batch_id desc limit ${MAX_PLACES})
    ), ran as materialized (
      select p.*, u.version, u.verdict, max(p.batch_id) over () as newest
        from place p cross join lateral (
          select y.version, y.verdict from (
            select x.version, x.attempt, case when length(x.verdicts) > p.n then get_byte(x.verdicts, p.n) else 0 end as verdict
              from onedata.runs x where x.batch_id = p.batch_id and x.version is not null) y
           order by y.verdict = 0, y.attempt desc limit 1) u
    )
    select r.payload, r.version, r.verdict, v.plan::text as plan,
           array(select coalesce(d.sink, '') from onedata.dead_letters d where d.tenant_id = ${tenantId} and d.batch_id = r.batch_id and d.n = r.n) as died_at,
           (select json_agg(json_build_object('sink', o.sink, 'ordinals', o.ordinals, 'payloads', o.payloads) order by o.attempt)::text
              from onedata.outputs o where o.batch_id = r.batch_id and r.n = any(o.ordinals)) as outputs,
           r.n
      from ran r join onedata.pipeline_versions v on v.pipeline_id = r.pipeline_id and v.version = r.version
     where r.generation = (select x.generation from ran x where x.batch_id = x.newest)
     order by r.batch_id`;
  return rows.map(({ n: ordinal, died_at, outputs, ...row }) => ({ ...row, diedAt: died_at, stored: unpack(outputs, ordinal) }));
}

function unpack(outputs: string | null, n: number): Map<number, readonly string[]> {
  const packed: readonly Packed[] = outputs === null ? [] : JSON.parse(outputs);
  const stored = new Map<number, readonly string[]>();
  for (const { sink, ordinals, payloads } of packed) {
    const records = payloads.split(RECORD_SEPARATOR);
    if (records.length !== ordinals.length)
      throw new OneDataError("internal", `outputs of the sink ${sink} hold ${records.length} records for ${ordinals.length} ordinals`);
    stored.set(
      sink,
      records.filter((_, i) => ordinals[i] === n),
    );
  }
  return stored;
}

type Packed = { readonly sink: number; readonly ordinals: readonly number[]; readonly payloads: string };
type Row = { payload: string; version: number; verdict: number; plan: string; died_at: string[]; outputs: string | null; n: number };
