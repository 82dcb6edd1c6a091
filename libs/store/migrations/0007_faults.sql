-- What a crash, an outage and a flood of dead letters leave behind.

-- Which half of a crashed run the batch was in, 0 = of none: the halves are run apart, so the second crash accuses half as many.
alter table onedata.queue add column part smallint not null default 0;

-- Since when the lane's service cannot do its work, for people; counts only while `block_failures` is above 0.
alter table onedata.lanes add column block_since timestamptz;
-- A parked lane is in no claim. It keeps the batches of stopped imports out of the way of their own lane, where every claim would walk over them.
alter table onedata.lanes add column parked boolean not null default false;

-- An import that stopped itself because too many of its events died; its upload may go on.
alter table onedata.imports add column stopped_at timestamptz;
alter table onedata.imports add column stop_reason text;

-- The last thousand events of a pipeline's version and class (in bulk: of one import), oldest first: how many there were and how many died, per report of an
-- engine. Written only when events die.
create table onedata.death_windows (
  pipeline_id bigint not null,
  version int not null,
  class text not null check (class in ('live', 'bulk')),
  import_id bigint not null default 0,
  events int[] not null,
  dead int[] not null,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (pipeline_id, version, class, import_id)
) with (fillfactor = 50);

-- Counting starts anew whenever a pipeline is paused, resumed, or gets another version, whoever does it.
create function onedata.restart_death_windows() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  delete from onedata.death_windows where pipeline_id = new.id and import_id = 0;
  return null;
end $$;
create trigger restart_death_windows after update of state, active_version on onedata.pipelines for each row
  when (old.state is distinct from new.state or old.active_version is distinct from new.active_version)
  execute function onedata.restart_death_windows();
