-- The run that each ordered lane is in, in a row that nobody but claims and completions looks at. Claims and completions wrote it into `lanes`: while an application held
-- an old snapshot, every lookup of a lane, captures' too, walked over all versions of its row (ADR 34).
--
-- Every sixteenth claim changes the key, and with it makes an index entry at the end of the lane: whoever looks from there meets the version of now among the first 32,
-- however many are dead. The others are heap-only updates.
create table onedata.lane_runs (
  lane_id bigint not null,
  -- raised by every claim, so a claim sees that the lane moved since its snapshot
  claims bigint not null default 0,
  era bigint generated always as (claims >> 4) stored,
  -- null: the lane is free
  run_id uuid,
  -- the smallest `seq` of the last claim: nothing waits below it, but what committed late
  low_seq bigint not null default 0,
  primary key (lane_id, era)
) with (
  fillfactor = 60,
  autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0
);

-- Of the code that the engine has; null: release 1.
alter table onedata.engines add column schema_release int;

-- `lanes.run_id` = 'ffffffff-…' says that the lane's run stands in `lane_runs`. Engines of release 1 leave such a lane alone. Their upkeep takes it for stranded and sets
-- null: that gives it back to them, but never while it is in a run.
create function onedata.give_lane_back() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  -- Every statement has a snapshot of its own; a claim since the last look has raised `claims`, and one that began before it finds them raised here.
  update onedata.lane_runs r set run_id = null, claims = r.claims + 1, low_seq = 0
   where r.lane_id = old.id and r.claims = (select max(x.claims) from onedata.lane_runs x where x.lane_id = old.id)
     and not exists (select from onedata.queue q where q.run_id = r.run_id and q.lane_id = r.lane_id);
  if found then new.low_seq := 0; else new.run_id := old.run_id; end if;
  return new;
end $$;
-- locks: an empty moment, nothing is read or written under it
create trigger give_lane_back before update of run_id on onedata.lanes for each row
  when (old.run_id = 'ffffffff-ffff-ffff-ffff-ffffffffffff' and new.run_id is distinct from old.run_id)
  execute function onedata.give_lane_back();

create or replace function onedata.make_lanes(pipeline bigint) returns void language sql as $$
  insert into onedata.lanes as l (tenant_id, pipeline_id, class, shard, ordered, route, run_id)
  select p.tenant_id, p.id, c.class, s.shard, p.ordering is not null, coalesce(v.route, ''), case when p.ordering is not null then 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid end
    from onedata.pipelines p
    left join onedata.pipeline_versions v on v.pipeline_id = p.id and v.version = p.active_version
    cross join (values ('live'), ('bulk')) c(class)
    cross join generate_series(0, case when p.ordering is null then 0 else 15 end) s(shard)
   where p.id = pipeline
  on conflict (pipeline_id, class, shard) do update set ordered = excluded.ordered, route = excluded.route, run_id = coalesce(l.run_id, excluded.run_id);
  insert into onedata.lane_runs (lane_id)
  select l.id from onedata.lanes l where l.pipeline_id = pipeline and l.ordered and not exists (select from onedata.lane_runs r where r.lane_id = l.id)
$$;
