-- The next delivery of a subscription is found without walking over those of the others.
create index deliveries_waiting on onedata.deliveries (subscription_id, next_try_at) where state = 'waiting';
drop index onedata.deliveries_due;

-- What the reconciler found last: one row per check, kept so that every control process tells the same, and since when.
create table onedata.findings (
  name text primary key,
  state text not null check (state in ('ok', 'warning', 'failed')),
  detail text not null,
  advice text not null,
  count int not null default 0,
  examples text[] not null default '{}',
  took_ms real not null default 0,
  -- of this state
  since timestamptz not null default clock_timestamp(),
  seen_at timestamptz not null default clock_timestamp()
) with (fillfactor = 50);
