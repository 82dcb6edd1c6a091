-- Who is told what: an outbox written in the transaction of what happened, and one delivery per subscription. Kept for seven days.

alter table onedata.subscriptions add column pipelines text[] not null default '{}';
-- The secret before the last rotation signs too until then.
alter table onedata.subscriptions add column old_secret bytea;
alter table onedata.subscriptions add column old_secret_until timestamptz;
alter table onedata.subscriptions add column created_by text;
-- Failed tries since the last message that arrived, and what the last of them came to.
alter table onedata.subscriptions add column failures int not null default 0;
alter table onedata.subscriptions add column problem text;
alter table onedata.subscriptions add column delivered_at timestamptz;
create index subscriptions_tenant on onedata.subscriptions (tenant_id, id);

create table onedata.notifications (
  id bigint primary key default onedata.next_id(),
  tenant_id bigint not null,
  topic text not null,
  pipeline_id bigint,
  -- its name when it happened
  pipeline text not null default '',
  -- what it is about, e.g. pipelines/orders, and which time of it: one outage or one pause is told once
  subject text not null,
  episode text not null,
  detail jsonb not null default '{}',
  created_at timestamptz not null default clock_timestamp(),
  unique (tenant_id, topic, subject, episode)
);
create index notifications_age on onedata.notifications (created_at);

create table onedata.deliveries (
  notification_id bigint not null,
  subscription_id bigint not null references onedata.subscriptions on delete cascade,
  tenant_id bigint not null,
  state text not null default 'waiting' check (state in ('waiting', 'delivered', 'failed')),
  tries int not null default 0,
  -- what the last try came to
  result text not null default '',
  -- when it is tried next; while a process sends it, when its lease ends
  next_try_at timestamptz not null default clock_timestamp(),
  -- the fence: who holds the lease
  claim uuid,
  created_at timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  primary key (subscription_id, notification_id)
) with (fillfactor = 70);
create index deliveries_due on onedata.deliveries (next_try_at) where state = 'waiting';
create index deliveries_age on onedata.deliveries (created_at);
create index deliveries_notification on onedata.deliveries (notification_id);

-- How far a detector has looked. What it finds is told, not decided by, so what commits late may be missed.
create table onedata.detectors (
  name text primary key,
  position bigint not null,
  updated_at timestamptz not null default clock_timestamp()
);
insert into onedata.detectors (name, position) values ('dead_letters', onedata.id_at(clock_timestamp())), ('outages', 0);

-- Groups of dead letters as they grew: how many were seen, and at how many it was told last.
create table onedata.dead_letter_growth (
  pipeline_id bigint not null,
  fingerprint text not null,
  tenant_id bigint not null,
  -- id of the first letter since the group was empty: the episode
  first_id bigint not null,
  seen bigint not null,
  told bigint not null,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (pipeline_id, fingerprint)
) with (fillfactor = 70);

-- Pipelines with blocked lanes, since when, and whether that was told.
create table onedata.outages (
  pipeline_id bigint primary key,
  tenant_id bigint not null,
  since timestamptz not null,
  reason text not null,
  told_at timestamptz
);
