-- Erasures of tenants: asked for, under way, and done. It keeps the name, by whom and when; never content.
create table onedata.erasures (
  -- the id that the tenant had
  tenant bigint primary key,
  name text not null,
  -- who asked for it, and whose audit log says so
  asked_by text not null,
  asked_by_tenant bigint not null,
  asked_at timestamptz not null default clock_timestamp(),
  -- ids of its pipelines, deleted ones too: some tables know nothing else
  pipelines bigint[] not null,
  rows_erased bigint not null default 0,
  waiting_for text not null default '',
  finished_at timestamptz
);
create index erasures_name on onedata.erasures (name, asked_at);
