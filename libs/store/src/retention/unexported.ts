/**
 * Which results of file sinks stand in no finished file yet: retention keeps their batches as it keeps those in the queue, so an exporter may be down for as long as it likes.
 * A result belongs to the sink that stands at its place in the plan of the version it was made by, and waits while it lies after that sink's position (`export_positions`);
 * a sink that has none has written nothing. The condition on the text is that of the index `pipeline_versions_files`.
 */

/** `file_place(pipeline_id, version, place, sink_id, xid, batch_id)`, for a `with`. */
export const FILE_PLACES = `
file_place as materialized (
  select v.pipeline_id, v.version, (s.o - 1)::smallint as place, s.sink->>'id' as sink_id, coalesce(x.xid, '0'::xid8) as xid, coalesce(x.batch_id, 0) as batch_id
    from onedata.pipeline_versions v cross join lateral json_array_elements(v.plan->'sinks') with ordinality s(sink, o)
    left join onedata.export_positions x on x.pipeline_id = v.pipeline_id and x.sink_id = s.sink->>'id' and x.path = s.sink->'config'->>'path'
   where v.plan::text like '%"file.%' and s.sink->>'kind' like 'file.%'
)`;

/** Joins `file_place f` with results `o` that wait, of these tables or subqueries. */
export const unexportedOf = (outputs: string, runs: string): string =>
  `file_place f join ${outputs} o on o.pipeline_id = f.pipeline_id and o.sink = f.place and (o.xid, o.batch_id) > (f.xid, f.batch_id)
     join ${runs} r on r.batch_id = o.batch_id and r.attempt = o.attempt and r.version = f.version`;
