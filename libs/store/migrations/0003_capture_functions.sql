-- Capture from other applications, inside their own transactions: `select onedata.capture('orders', '{"id":1}')`.
--
-- Security definer: the tenant comes from the caller's database role in `principals`. Syntax and size are checked here, the schema by the engine.
-- They never notify (NOTIFY takes a global lock until commit); engines find the rows by polling. They may commit late: nothing keeps a watermark.

create function onedata.caller_tenant() returns bigint language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  tenant bigint;
begin
  select tenant_id into tenant from onedata.principals where kind = 'database' and subject = session_user::text and revoked_at is null;
  if tenant is null then
    raise exception 'onedata: the database role % is no principal of a tenant', session_user using errcode = '42501',
      hint = 'Add a row to onedata.principals with kind database and the role''s name as subject.';
  end if;
  return tenant;
end $$;

create function onedata.check_payload(payload text) returns void language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if payload is null then
    raise exception 'onedata: the payload is null' using errcode = '22004';
  elsif octet_length(payload) > 1048576 then
    raise exception 'onedata: the payload has % bytes, more than 1048576', octet_length(payload) using errcode = '54000';
  end if;
  perform payload::json; -- raises 22P02 with the position
end $$;

-- Writes one batch of checked payloads in the given lane.
create function onedata.write_batch(tenant bigint, pipeline bigint, lane bigint, payloads text[], keys text[]) returns bigint
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
  insert into onedata.queue (batch_id, seq, lane_id, n, bytes) values (batch, seq_no, lane, cardinality(payloads), size);
  return batch;
end $$;

-- Captures one event; returns its public id. The same idempotency key within 24 hours returns the first id.
create function onedata.capture(pipeline text, payload text, ordering_key text default null, idempotency_key text default null) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  tenant bigint := onedata.caller_tenant();
  target onedata.pipelines;
  lane bigint;
  known onedata.idempotency_keys;
  body bytea;
  batch bigint;
begin
  perform onedata.check_payload(payload);
  select * into target from onedata.pipelines p where p.tenant_id = tenant and p.name = capture.pipeline;
  if target.id is null or target.state = 'deleting' then
    raise exception 'onedata: no pipeline %', capture.pipeline using errcode = 'P0002';
  end if;
  select l.id into lane from onedata.lanes l where l.pipeline_id = target.id and l.class = 'live'
    and l.shard = case when target.ordering is null then 0 else onedata.shard_of(coalesce(capture.ordering_key, '')) end;
  if idempotency_key is null then
    return onedata.event_id(onedata.write_batch(tenant, target.id, lane, array[payload], array[case when target.ordering is not null then capture.ordering_key end]), 0);
  end if;

  body := sha256(convert_to(payload, 'UTF8'));
  -- The id must be known before the key row, and the key row must come before the batch: so the key is claimed first and filled in after.
  insert into onedata.idempotency_keys as i (tenant_id, pipeline_id, key_hash, body_hash, batch_id, n)
    values (tenant, target.id, sha256(convert_to(idempotency_key, 'UTF8')), body, 0, 0)
    on conflict do nothing returning * into known;
  if known.tenant_id is not null then
    batch := onedata.write_batch(tenant, target.id, lane, array[payload], array[case when target.ordering is not null then capture.ordering_key end]);
    update onedata.idempotency_keys i set batch_id = batch where i.tenant_id = tenant and i.pipeline_id = target.id and i.key_hash = known.key_hash;
    return onedata.event_id(batch, 0);
  end if;
  select * into known from onedata.idempotency_keys i
    where i.tenant_id = tenant and i.pipeline_id = target.id and i.key_hash = sha256(convert_to(idempotency_key, 'UTF8'));
  if known.body_hash is distinct from body then
    raise exception 'onedata: the idempotency key was used with another payload' using errcode = '23505';
  end if;
  return onedata.event_id(known.batch_id, known.n);
end $$;

-- Captures many events of a pipeline; returns their public ids in order. Batches of at most 100 events and 256 KiB per lane.
create function onedata.capture_many(pipeline text, payloads text[], ordering_keys text[] default null) returns setof text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  tenant bigint := onedata.caller_tenant();
  target onedata.pipelines;
  part record;
  batch bigint;
  ids text[] := array_fill(null::text, array[cardinality(payloads)]);
begin
  if coalesce(cardinality(payloads), 0) = 0 then return; end if;
  perform onedata.check_payload(p) from unnest(payloads) p;
  select * into target from onedata.pipelines p where p.tenant_id = tenant and p.name = capture_many.pipeline;
  if target.id is null or target.state = 'deleting' then
    raise exception 'onedata: no pipeline %', capture_many.pipeline using errcode = 'P0002';
  end if;
  for part in
    with item as (
      select x.p, case when target.ordering is not null then x.k end as k, x.o,
             case when target.ordering is null then 0 else onedata.shard_of(coalesce(x.k, '')) end as shard, octet_length(x.p) as size
        from unnest(payloads, ordering_keys) with ordinality x(p, k, o) where x.o <= cardinality(payloads)
    ), placed as (
      select item.*, row_number() over w - 1 as i, sum(size) over w - size as before from item window w as (partition by shard order by o)
    )
    select shard, array_agg(p order by o) as texts, array_agg(k order by o) as keys, array_agg(o order by o) as positions
      from placed group by shard, i / 100, before / 262144 order by shard, min(o)
  loop
    batch := onedata.write_batch(tenant, target.id,
      (select l.id from onedata.lanes l where l.pipeline_id = target.id and l.class = 'live' and l.shard = part.shard), part.texts, part.keys);
    for i in 1..cardinality(part.positions) loop
      ids[part.positions[i]] := onedata.event_id(batch, i - 1);
    end loop;
  end loop;
  return query select unnest(ids);
end $$;

revoke all on function onedata.write_batch(bigint, bigint, bigint, text[], text[]) from public;
revoke all on function onedata.ensure_partitions(int) from public;
revoke all on function onedata.make_partition(text, text, text, bigint, bigint) from public;
revoke all on function onedata.make_lanes(bigint) from public;
grant usage on schema onedata to public;
