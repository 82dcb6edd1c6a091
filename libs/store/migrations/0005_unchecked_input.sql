-- Events that no gateway has held against the pipeline's input schema: the engine does, before their first step. A marker of the queue row, so that a claim
-- carries it and captures through the gateway pay nothing. (A constant default: adding it rewrites nothing.)
alter table onedata.queue add column unchecked boolean not null default false;

create or replace function onedata.write_batch(tenant bigint, pipeline bigint, lane bigint, payloads text[], keys text[]) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  seq_no bigint := nextval('onedata.batch_seq');
  batch bigint := ((extract(epoch from clock_timestamp()) * 1000)::bigint << 20) | (seq_no & 1048575);
  size int := (select sum(octet_length(x)) from unnest(payloads) x);
begin
  begin
    insert into onedata.batches (id, seq, tenant_id, pipeline_id, lane_id, n, bytes) values (batch, seq_no, tenant, pipeline, lane, cardinality(payloads), size);
  exception when check_violation then
    perform onedata.ensure_partitions(1);
    insert into onedata.batches (id, seq, tenant_id, pipeline_id, lane_id, n, bytes) values (batch, seq_no, tenant, pipeline, lane, cardinality(payloads), size);
  end;
  insert into onedata.events (batch_id, n, payload, ordering_key)
    select batch, (o - 1)::int, p, k from unnest(payloads, keys) with ordinality x(p, k, o);
  insert into onedata.queue (batch_id, seq, lane_id, n, bytes, unchecked) values (batch, seq_no, lane, cardinality(payloads), size, true);
  return batch;
end $$;
