/**
 * Reads the outputs of one file sink in the order they are exported in.
 *
 * Invariants:
 * 1. Pages go by (xid, batch) below every open transaction, so nothing ever appears behind a reader. A transaction completes a batch once, so that is an order.
 * 2. A sink's place in the plan differs per version. A page says which version was the newest in its snapshot; before outputs of an unknown one are judged, the
 *    places are read again and then the page. So an output of a version made a moment ago is never passed over.
 * 3. Every page says which session read it; one that does not hold the lock is refused.
 * 4. While retention has old rows out of sight, nothing is read: they would come back behind the reader. What is gone between a page and its payloads is an error,
 *    and is read again.
 * Idle, a page reads one entry of the index `outputs_cursor` per partition and place: what was passed is remembered, also where none of it was this sink's.
 */
import { fromBase32, OneDataError, toBase32 } from "@onedata/core";
import type { Sql } from "./connection.ts";
import type { FileSink } from "./file-sink.ts";

/** `jsons` were completed together. */
export type ExportedChunk = { readonly position: string; readonly jsons: readonly string[] };

/** The chunks after a position, at most about `maxBytes` of them; none = nothing new. Throws when the lock is lost. */
export type ExportReader = (after: string | undefined, maxBytes: number, signal: AbortSignal) => Promise<readonly ExportedChunk[]>;

type Place = { readonly xid: bigint; readonly batchId: bigint };
type Key = Place & { readonly sink: number; readonly attempt: number; readonly version: number; readonly bytes: number };

const KEYS_PER_PAGE = 500;
const START: Place = { xid: 0n, batchId: 0n };
const RECORD_SEPARATOR = "\u001e";

export function createExportReader(sql: Sql, sink: FileSink, session: string): ExportReader {
  let places = new Map<number, number>();
  let newest = -1;
  let last: { readonly position: string | undefined; readonly passed: Place } = { position: undefined, passed: START };

  return async (after, maxBytes, signal) => {
    let from = after === last.position ? last.passed : toPlace(after);
    while (!signal.aborted) {
      const page = await readKeys(sql, sink, new Set(places.values()), from);
      assertSession(page.session, session, sink);
      if (page.isMoving) return [];
      if (page.newest > newest) {
        places = await readPlaces(sql, sink);
        newest = page.newest;
        continue;
      }
      const own: Key[] = [];
      let bytes = 0;
      for (const key of page.keys) {
        if (places.get(key.version) === key.sink) {
          if (own.length > 0 && bytes + key.bytes > maxBytes) break;
          own.push(key);
          bytes += key.bytes;
        }
        from = key;
      }
      if (own.length > 0) {
        const chunks = await readPayloads(sql, own, (found) => assertSession(found, session, sink));
        last = { position: chunks.at(-1)?.position ?? after, passed: from };
        if (chunks.length > 0) return chunks;
      } else {
        last = { position: after, passed: from };
        if (page.keys.length < KEYS_PER_PAGE) return [];
      }
    }
    return [];
  };
}

/** The version of each output comes from its run. */
async function readKeys(
  sql: Sql,
  { pipelineId }: FileSink,
  places: ReadonlySet<number>,
  from: Place,
): Promise<{ session: string | null; isMoving: boolean; newest: number; keys: readonly Key[] }> {
  const [row] = await sql<{ session: string | null; moving: boolean; newest: number | null; keys: string | null }[]>`
    select current_setting('onedata.export_session', true) as session, onedata.old_rows_are_moving() as moving,
           (select max(version) from onedata.pipeline_versions where pipeline_id = ${pipelineId}) as newest,
           (select string_agg(concat_ws(',', p.xid, p.batch_id, p.sink, p.attempt, coalesce(r.version, 0), p.bytes), ';' order by p.xid, p.batch_id)
              from (select o.* from unnest(${`{${[...places].join(",")}}`}::smallint[]) s(place)
                     cross join lateral (
                       select o.xid, o.batch_id, o.sink, o.attempt, o.bytes from onedata.outputs o
                        where o.pipeline_id = ${pipelineId} and o.sink = s.place and o.xid < pg_snapshot_xmin(pg_current_snapshot())
                          and (o.xid, o.batch_id) > (${String(from.xid)}::text::xid8, ${from.batchId}::bigint)
                        order by o.xid, o.batch_id limit ${KEYS_PER_PAGE}) o
                     order by o.xid, o.batch_id limit ${KEYS_PER_PAGE}) p
              left join onedata.runs r on r.batch_id = p.batch_id and r.attempt = p.attempt) as keys`;
  const lines = row?.keys == null ? [] : row.keys.split(";");
  return { session: row?.session ?? null, isMoving: row?.moving ?? true, newest: row?.newest ?? -1, keys: lines.map(toKey) };
}

function toKey(line: string): Key {
  const [xid = "", batchId = "", sink, attempt, version, bytes] = line.split(",");
  return {
    xid: BigInt(xid),
    batchId: BigInt(batchId),
    sink: Number(sink),
    attempt: Number(attempt),
    version: Number(version),
    bytes: Number(bytes),
  };
}

/** Where the sink stands in the plan, by version. */
async function readPlaces(sql: Sql, { pipelineId, sinkId, path }: FileSink): Promise<Map<number, number>> {
  const rows = await sql<{ version: number; place: number }[]>`
    select v.version, (s.o - 1)::int as place
      from onedata.pipeline_versions v cross join lateral json_array_elements(v.plan->'sinks') with ordinality s(sink, o)
     where v.pipeline_id = ${pipelineId} and v.plan::text like '%"file.%'
       and s.sink->>'id' = ${sinkId} and s.sink->>'kind' like 'file.%' and s.sink->'config'->>'path' = ${path}`;
  return new Map(rows.map(({ version, place }) => [version, place]));
}

async function readPayloads(sql: Sql, keys: readonly Key[], assertOwn: (session: string | null) => void): Promise<readonly ExportedChunk[]> {
  const list = (values: readonly (bigint | number)[]): string => `{${values.join(",")}}`;
  const rows = await sql<{ session: string | null; i: number; payloads: string }[]>`
    select current_setting('onedata.export_session', true) as session, k.i::int as i, o.payloads
      from unnest(${list(keys.map((key) => key.batchId))}::bigint[], ${list(keys.map((key) => key.sink))}::smallint[], ${list(keys.map((key) => key.attempt))}::int[])
           with ordinality k(batch_id, sink, attempt, i)
      join onedata.outputs o on o.batch_id = k.batch_id and o.sink = k.sink and o.attempt = k.attempt
     order by k.i`;
  if (rows.length < keys.length)
    throw new OneDataError(
      "store.busy",
      `export: ${keys.length - rows.length} results are out of sight, while old days are dropped; read again soon`,
    );
  return rows.flatMap(({ session, i, payloads }) => {
    assertOwn(session);
    const key = keys[i - 1];
    return key === undefined ? [] : [{ position: toPosition(key), jsons: payloads.split(RECORD_SEPARATOR) }];
  });
}

export function assertSession(found: string | null, expected: string, { pipeline, sinkId }: FileSink): void {
  if (found !== expected) throw new OneDataError("store.unavailable", `export of ${pipeline}.${sinkId}: the connection that held its lock was lost`);
}

/** Two ids of 13 digits of base32, so the order of the text is that of the numbers. The second is the batch id as it stands in event ids. */
const toPosition = ({ xid, batchId }: Place): string => `${toBase32(xid).padStart(13, "0")}-${toBase32(batchId).padStart(13, "0")}`;

/** Notes how far the finished files reach; it never goes back. Nothing is noted for a pipeline that is gone. */
export async function reportPosition(sql: Sql, { pipelineId, sinkId, path }: FileSink, position: string): Promise<void> {
  const { xid, batchId } = toPlace(position);
  await sql`
    insert into onedata.export_positions as x (pipeline_id, sink_id, path, xid, batch_id)
    select id, ${sinkId}, ${path}, ${String(xid)}::text::xid8, ${batchId}::bigint from onedata.pipelines where id = ${pipelineId}
    on conflict (pipeline_id, sink_id, path) do update set xid = excluded.xid, batch_id = excluded.batch_id, updated_at = clock_timestamp()
     where (excluded.xid, excluded.batch_id) > (x.xid, x.batch_id)`;
}

function toPlace(position: string | undefined): Place {
  if (position === undefined) return START;
  const [xid, batchId] = position.split("-").map((digits) => fromBase32(digits));
  if (xid === undefined || batchId === undefined)
    throw new OneDataError("config.invalid", `export: ${JSON.stringify(position)} is no position; was a file renamed?`);
  return { xid, batchId };
}
