-- How long data is kept, per tenant, and the erasure of a tenant.

-- {"eventsDays": 3, "deadLettersDays": 14}; absent = the operator's maximum
alter table onedata.tenants add column retention jsonb not null default '{}';
alter table onedata.tenants add column state text not null default 'active' check (state in ('active', 'erasing'));

-- The one drop of old partitions that is under way, so that whoever comes after a crash goes on with it.
create table onedata.retention_work (
  kind text primary key check (kind = 'events'),
  -- everything with a smaller id goes
  upper bigint not null,
  -- batches that were done at or after it stay
  cutoff timestamptz not null,
  -- tables to go, per partitioned table: {"events": ["events_p20261101"]}
  victims jsonb not null,
  state text not null default 'detaching' check (state in ('detaching', 'dropping')),
  problem text,
  started_at timestamptz not null default clock_timestamp()
);

-- While old rows are out of sight on their way to the partition of held rows: whoever reads events of a list, to run them again, waits that moment.
create function onedata.old_rows_are_moving() returns boolean language sql stable set search_path = pg_catalog, pg_temp as $$
  select exists (select from onedata.retention_work where kind = 'events' and state = 'detaching')
$$;

-- As before, and content with a range that the partition of held rows covers already: a clock that was set back must not stop the making of others.
create or replace function onedata.make_partition(parent text, suffix text, key text, lower bigint, upper bigint) returns boolean language plpgsql as $$
declare
  child text := parent || '_p' || suffix;
begin
  if to_regclass('onedata.' || child) is not null then return false; end if;
  begin
    execute format('create table onedata.%I (like onedata.%I including defaults including constraints including storage including compression)', child, parent);
    execute format('alter table onedata.%I add constraint %I check (%I >= %s and %I < %s)', child, child || '_range', key, lower, key, upper);
    execute format('alter table onedata.%I attach partition onedata.%I for values from (%s) to (%s)', parent, child, lower, upper);
    execute format('alter table onedata.%I drop constraint %I', child, child || '_range');
  exception when invalid_object_definition then
    return false;
  end;
  return true;
end $$;
