/**
 * The capture statements. One statement = one commit = many lanes of many pipelines and tenants.
 *
 * Rules kept:
 * 1. Payloads travel as ONE text parameter: U+001E between events, U+001D between batches. Neither can occur in valid JSON. (An array parameter costs 2-3 times
 *    as much: the client sends no binary arrays.)
 * 2. A batch is written only if its pipeline belongs to the tenant, is not deleting, and the version whose schema was checked is still active. A paused
 *    pipeline captures.
 * 3. `seq` is drawn in the order of the batches given, so batches of one lane keep their order.
 * 4. The answer has one id per batch in order, empty where rule 2 refused it.
 */

/** $1 pipeline ids, $2 tenant ids, $3 versions, $4 classes, $5 shards, $6 sizes, $7 counts, $8 payloads, $9 traces, $10 ordering keys, $11 nonce, $12 import ids */
const PLACED = `
with given as materialized (
  select b.*, nextval('onedata.batch_seq') as seq
    from rows from (
      unnest($1::bigint[], $2::bigint[], $3::int[], $4::text[], $5::smallint[], $6::int[], $7::int[], $12::bigint[]),
      string_to_table($8::text, E'\\x1d'), string_to_table($9::text, E'\\x1d'), string_to_table($10::text, E'\\x1d')
    ) with ordinality b(pipeline_id, tenant_id, version, class, shard, bytes, n, import_id, payloads, traces, ordering_keys, g)
), placed as materialized (
  select g.*, l.id as lane_id, ((extract(epoch from clock_timestamp()) * 1000)::bigint << 20) | (g.seq & 1048575) as id
    from given g
    left join onedata.pipelines p on p.id = g.pipeline_id and p.tenant_id = g.tenant_id and p.state <> 'deleting' and p.active_version = g.version
    left join onedata.lanes l on l.pipeline_id = p.id and l.class = g.class and l.shard = g.shard
)`;

const EVENTS_OF_BATCH = `
  cross join lateral rows from (string_to_table(p.payloads, E'\\x1e'), string_to_table(p.traces, E'\\x1e'), string_to_table(p.ordering_keys, E'\\x1e'))
    with ordinality e(payload, trace, ordering_key, o)`;

const ANSWER = `select string_agg(case when lane_id is null then '' else id::text end, ',' order by g) as ids from placed`;

export const CAPTURE = `${PLACED}, batch as (
  insert into onedata.batches (id, seq, tenant_id, pipeline_id, lane_id, n, bytes, nonce, import_id)
  select id, seq, tenant_id, pipeline_id, lane_id, n, bytes, $11::uuid, import_id from placed where lane_id is not null
), event as (
  insert into onedata.events (batch_id, n, payload, ordering_key, trace)
  select p.id, (e.o - 1)::int, e.payload, nullif(e.ordering_key, ''), decode(nullif(e.trace, ''), 'hex')
    from placed p ${EVENTS_OF_BATCH} where p.lane_id is not null
), queued as (
  insert into onedata.queue (batch_id, seq, lane_id, n, bytes, import_id)
  select id, seq, lane_id, n, bytes, import_id from placed where lane_id is not null
)
${ANSWER}`;

/**
 * With idempotency keys: $13 hashes of keys, $14 hashes of bodies, packed like payloads, empty for events without a key; the caller has folded duplicates.
 * Keys are inserted sorted, so two groups never wait for each other in a circle. An event whose key exists already is not written (its ordinal stays a
 * hole) and not listed in `kept`; a concurrent winner is invisible to this statement's snapshot, so the caller reads the first id in a second one.
 */
export const CAPTURE_KEYED = `${PLACED}, item as materialized (
  select p.id as batch_id, p.seq, p.g, p.tenant_id, p.pipeline_id, p.lane_id, p.import_id, (k.o - 1)::int as n, k.payload, k.trace, k.ordering_key,
         decode(nullif(k.key_hash, ''), 'hex') as key_hash, decode(nullif(k.body_hash, ''), 'hex') as body_hash
    from rows from (string_to_table($13::text, E'\\x1d'), string_to_table($14::text, E'\\x1d')) with ordinality h(key_hashes, body_hashes, g)
    join placed p on p.g = h.g and p.lane_id is not null
    cross join lateral rows from (string_to_table(p.payloads, E'\\x1e'), string_to_table(p.traces, E'\\x1e'), string_to_table(p.ordering_keys, E'\\x1e'),
      string_to_table(h.key_hashes, E'\\x1e'), string_to_table(h.body_hashes, E'\\x1e')) with ordinality k(payload, trace, ordering_key, key_hash, body_hash, o)
), won as (
  insert into onedata.idempotency_keys (tenant_id, pipeline_id, key_hash, body_hash, batch_id, n)
  select tenant_id, pipeline_id, key_hash, body_hash, batch_id, n from item where key_hash is not null order by tenant_id, pipeline_id, key_hash
  on conflict do nothing returning batch_id, n
), kept as materialized (
  select * from item where key_hash is null or (batch_id, n) in (select batch_id, n from won)
), sized as materialized (
  select batch_id, seq, tenant_id, pipeline_id, lane_id, import_id, count(*)::int as n, sum(octet_length(payload))::int as bytes
    from kept group by batch_id, seq, tenant_id, pipeline_id, lane_id, import_id
), batch as (
  insert into onedata.batches (id, seq, tenant_id, pipeline_id, lane_id, n, bytes, nonce, import_id)
  select batch_id, seq, tenant_id, pipeline_id, lane_id, n, bytes, $11::uuid, import_id from sized
), event as (
  insert into onedata.events (batch_id, n, payload, ordering_key, trace)
  select batch_id, n, payload, nullif(ordering_key, ''), decode(nullif(trace, ''), 'hex') from kept
), queued as (
  insert into onedata.queue (batch_id, seq, lane_id, n, bytes, import_id) select batch_id, seq, lane_id, n, bytes, import_id from sized
)
select (${ANSWER}) as ids, (select string_agg(batch_id || ':' || n, ',') from kept) as kept`;
