-- Jobs: replays and backfills over a list that is frozen when they start, and discards of dead letters.

-- `discard_letters` gives dead letters up; `discard` empties a backlog. Two kinds, for a process of the release before takes every `discard` for its own.
alter table onedata.jobs drop constraint jobs_kind_check;
alter table onedata.jobs add constraint jobs_kind_check check (kind in ('replay', 'backfill', 'shadow', 'discard', 'discard_letters'));
alter table onedata.jobs
  add column description text not null default '',
  add column events_per_second int not null default 0,
  -- Items before it are in batches, or, once the job is cancelled, given back.
  add column position bigint not null default 0,
  -- Where the making of the list stands, and where it ends: ids of dead letters, or of batches.
  add column listed_to bigint not null default 0,
  add column list_until bigint not null default 0,
  -- Dead letters that met the filter when it started, and those of them that it got.
  add column matching bigint not null default 0,
  add column claimed bigint not null default 0,
  add column skipped bigint not null default 0,
  -- Events that the rate allows now, and when that was reckoned.
  add column allowance double precision not null default 0,
  add column allowance_at timestamptz not null default now(),
  -- Its items are still there; they go when it has ended.
  add column has_items boolean not null default false;
create index jobs_open on onedata.jobs (id) where finished_at is null;
create index jobs_ended on onedata.jobs (id) where finished_at is not null and has_items;

alter table onedata.job_items
  add column generation int not null default 0,
  -- Dead letters that it settles.
  add column letters bigint[],
  -- Edited: instead of the captured one.
  add column payload text;

-- The batches of a job. A batch is settled once it has left the queue and its dead letters have been told.
create table onedata.job_batches (
  job_id bigint not null,
  batch_id bigint not null,
  n int not null,
  -- By ordinal: the position of its item.
  positions bigint[] not null,
  settled_at timestamptz,
  primary key (job_id, batch_id)
) with (fillfactor = 70);
create index job_batches_open on onedata.job_batches (job_id, batch_id) where settled_at is null;

-- The version that a job named. A release frees the version of a batch, never this one.
alter table onedata.queue add column pinned_version int;
-- locks: the queue is small, captures wait for milliseconds
create index queue_job on onedata.queue (job_id) where job_id is not null;

-- locks: completions wait about a second per million dead letters, once; an index of a partitioned table cannot be built beside them
create index dead_letters_open on onedata.dead_letters (pipeline_id, fingerprint, id) where state = 'open';
-- locks: none are replaying yet, one pass over the table
create index dead_letters_replaying on onedata.dead_letters (job_id) where state = 'replaying';

-- Batches from `lower` to below `upper` whose events something still needs: copies that wait in the queue, and the lists of open jobs. For retention.
create function onedata.referenced_batches(lower bigint, upper bigint) returns table (batch_id bigint) language sql stable set search_path = pg_catalog, pg_temp as $$
  select r.src_batch_id from onedata.queue q join onedata.batch_refs r on r.batch_id = q.batch_id
   where q.kind <> 'capture' and r.src_batch_id >= lower and r.src_batch_id < upper
  union
  select i.src_batch_id from onedata.jobs j join onedata.job_items i on i.job_id = j.id and i.position >= j.position
   where j.finished_at is null and j.state in ('preparing', 'running') and i.src_batch_id >= lower and i.src_batch_id < upper
  union
  select b.id from onedata.jobs j join onedata.batches b on b.pipeline_id = j.pipeline_id and b.id > j.listed_to and b.id <= j.list_until and b.kind = 'capture'
   where j.finished_at is null and j.kind = 'backfill' and j.state = 'preparing' and b.id >= lower and b.id < upper
$$;
