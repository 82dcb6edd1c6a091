/** The platform's side of the comparison with sinks' ledgers: what must be in them, and whether what is in them is known here. Over all tenants, bounded. */
import { type BatchId, type TenantId, toBatchId, toTenantId } from "@onedata/core";
import type { Sql } from "../connection.ts";

export type DeliveredSample = {
  readonly tenantId: TenantId;
  readonly pipeline: string;
  readonly connection: string;
  readonly sinks: readonly string[];
  readonly batches: readonly { readonly batchId: BatchId; readonly generation: number; readonly ordinals: readonly number[] }[];
};

const MOST_PIPELINES = 100;
const BATCHES_EACH = 20;
/** Retention may take what is older. */
const WINDOW = "12 hours";
const SETTLED = "30 seconds";

/**
 * The newest delivered events of pipelines with Postgres sinks. Only of plans whose sinks all read the same records: there, delivered means taken by each;
 * elsewhere a branch may have had nothing for a sink.
 */
export async function sampleDelivered(sql: Sql): Promise<readonly DeliveredSample[]> {
  const rows = await sql<{ tenant_id: bigint; name: string; connection: string; sinks: string[]; batches: [string, number, number[]][] | null }[]>`
    with used as materialized (
      select p.id, p.tenant_id, p.name, p.active_version, s->>'connection' as connection, array_agg(s->>'id') as sinks
        from (select * from onedata.pipelines order by id desc limit ${MOST_PIPELINES}) p
        join onedata.pipeline_versions v on v.pipeline_id = p.id and v.version = p.active_version
        cross join lateral json_array_elements(v.plan->'sinks') s
       where s->>'kind' in ('postgres.upsert', 'postgres.insert') and s->>'connection' is not null
         and (select count(distinct o->>'inputs') from json_array_elements(v.plan->'sinks') o) = 1
       group by 1, 2, 3, 4, 5
    )
    select u.tenant_id, u.name, u.connection, u.sinks, json_agg(json_build_array(b.id::text, b.generation, x.ordinals)) as batches
      from used u
      cross join lateral (
        select id, generation from onedata.batches where pipeline_id = u.id and id > onedata.id_at(clock_timestamp() - ${WINDOW}::interval)
           and id < onedata.id_at(clock_timestamp() - ${SETTLED}::interval) and kind = 'capture' order by id desc limit ${BATCHES_EACH}
      ) b
      cross join lateral (
        select json_agg(o.n order by o.n) as ordinals from onedata.runs r cross join lateral generate_series(0, length(r.verdicts) - 1) o(n)
         where r.batch_id = b.id and r.version = u.active_version and get_byte(r.verdicts, o.n) = 1
      ) x
     where x.ordinals is not null group by 1, 2, 3, 4`;
  return rows.map((row) => ({
    tenantId: toTenantId(row.tenant_id),
    pipeline: row.name,
    connection: row.connection,
    sinks: row.sinks,
    batches: (row.batches ?? []).map(([id, generation, ordinals]) => ({ batchId: toBatchId(BigInt(id)), generation, ordinals })),
  }));
}

/** Where rows of a ledger begin that the platform must still know. */
export async function ledgerWindowStart(sql: Sql): Promise<bigint> {
  const [row] = await sql<{ id: bigint }[]>`select onedata.id_at(clock_timestamp() - ${WINDOW}::interval) as id`;
  return row?.id ?? 0n;
}

export type LedgerRow = { readonly batchId: bigint; readonly ordinals: readonly number[] };

/** Those of `rows` whose batch this platform does not know, or that have an ordinal without any verdict though the batch waits nowhere. */
export async function findUnknownEffects(sql: Sql, tenantId: TenantId, rows: readonly LedgerRow[]): Promise<readonly BatchId[]> {
  if (rows.length === 0) return [];
  const given = JSON.stringify(rows.map(({ batchId, ordinals }) => ({ id: String(batchId), ordinals })));
  const found = await sql<{ id: bigint }[]>`
    select distinct g.id from jsonb_to_recordset(${given}::text::jsonb) g(id bigint, ordinals int[])
      left join onedata.batches b on b.id = g.id and b.tenant_id = ${tenantId}
     where g.id < onedata.id_at(clock_timestamp() - ${SETTLED}::interval) and not exists (select from onedata.queue q where q.batch_id = g.id)
       and (b.id is null or exists (
         select from unnest(g.ordinals) o(n)
          where not exists (select from onedata.runs r where r.batch_id = g.id and length(r.verdicts) > o.n and get_byte(r.verdicts, o.n) <> 0)))
     order by 1`;
  return found.map(({ id }) => toBatchId(id));
}
