-- How far the files of a sink reach: retention keeps results that no finished file holds yet. Written by whoever holds the sink's lock; only ever moves on.
create table onedata.export_positions (
  pipeline_id bigint not null references onedata.pipelines on delete cascade,
  sink_id text not null,
  -- a sink whose path changed between versions is two of them
  path text not null,
  xid xid8 not null,
  batch_id bigint not null,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (pipeline_id, sink_id, path)
) with (fillfactor = 50);
