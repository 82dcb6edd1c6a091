/** States of events for whoever waits for them: one statement for all waiters of a gateway. The ids come from the gateway's own captures, so they are its callers'. */
import type { EventId } from "@onedata/core";
import type { Sql } from "../connection.ts";

export type WaitedEvent = EventId & {
  /** Index of the sink `onedata.outputs`, when its outputs are wanted. */
  readonly outputsSink: number | undefined;
};

export type EventState = {
  readonly state: "waiting" | "running" | "done";
  /** Set when done. */
  readonly verdict: "delivered" | "filtered" | "dead" | undefined;
  /** JSON texts. */
  readonly outputs: readonly string[];
};

type Row = { leased: boolean | null; verdict: number | null; outputs: string[] | null };

/** In the order given. */
export async function readEventStates(sql: Sql, events: readonly WaitedEvent[]): Promise<readonly EventState[]> {
  const literal = (values: readonly unknown[]): string => `{${values.join(",")}}`;
  const rows = await sql<Row[]>`
    select q.leased, r.verdict, case when r.verdict = 1 and x.sink >= 0 then (
             select array_agg(e.payload order by o.attempt, e.k) from onedata.outputs o
              cross join lateral rows from (unnest(o.ordinals), string_to_table(o.payloads, E'\x1e')) with ordinality e(ordinal, payload, k)
              where o.batch_id = x.batch_id and o.sink = x.sink and e.ordinal = x.n) end as outputs
      from unnest(${literal(events.map((event) => event.batchId))}::bigint[], ${literal(events.map((event) => event.n))}::int[],
                  ${literal(events.map((event) => event.outputsSink ?? -1))}::int[]) with ordinality x(batch_id, n, sink, i)
      left join lateral (select q.run_id is not null as leased from onedata.queue q where q.batch_id = x.batch_id) q on true
      left join lateral (
        select get_byte(r.verdicts, x.n) as verdict from onedata.runs r
         where r.batch_id = x.batch_id and octet_length(r.verdicts) > x.n and get_byte(r.verdicts, x.n) <> 0 order by r.attempt desc limit 1
      ) r on true
     order by x.i`;
  return rows.map(({ leased, verdict, outputs }) => {
    if (verdict === null) return { state: leased === true ? "running" : "waiting", verdict: undefined, outputs: [] };
    return { state: "done", verdict: verdict === 1 ? "delivered" : verdict === 2 ? "dead" : "filtered", outputs: outputs ?? [] };
  });
}
