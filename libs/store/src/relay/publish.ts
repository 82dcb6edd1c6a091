/**
 * Publishing as the database sees it. `publish-sql.ts` has the statements and their rules.
 *
 * Duty: mark and name the batches whose pointers go out now; take a mark back; say how an engine stands with its broker.
 * Non-duty: talking to the broker, when to publish (the relay).
 * Invariant: nothing here is needed for a batch to be claimed. Claims look at leases only, so a mark that is wrong costs latency and nothing else.
 */
import { type BatchId, type LaneId, toBatchId, toLaneId } from "@onedata/core";
import { connect, PLANNER, type Sql, type Store } from "../connection.ts";
import { PUBLISH, UNPUBLISH } from "./publish-sql.ts";

export type PublishOptions = {
  /** For what is published and not claimed, per tenant. */
  readonly windowEvents: number;
  readonly maxBatches: number;
  /** Where the last call stopped looking. */
  readonly afterLane?: LaneId | undefined;
  /** Since when what was published before is lost: the broker's store is another one. */
  readonly lostForMs?: number | undefined;
  readonly brokerIsEmpty?: boolean;
  readonly lostAfter?: LostAfter;
};

export type LostAfter = { readonly firstMs: number; readonly mostMs: number };

export type PublishedBatch = { readonly batchId: BatchId; readonly laneId: LaneId; readonly publishSeq: number; readonly n: number };

export type Published = {
  /** One claim serves one route: pointers of one route travel together. */
  readonly routes: readonly { readonly route: string; readonly batches: readonly PublishedBatch[] }[];
  readonly lastLane: LaneId | undefined;
  /** More waits than the window or `maxBatches` let through. */
  readonly more: boolean;
};

/** A minute, doubled with every publish number up to a quarter of an hour. */
const LOST_AFTER: LostAfter = { firstMs: 60_000, mostMs: 900_000 };
const MAX_LANES = 256;
const MAX_ROWS = 2048;
const MAX_ROWS_PER_LANE = 512;

/** A connection for the relay alone: a long look never holds up lease renewals. The caller ends it. */
export const connectRelay = (url: string): Sql =>
  connect(url, { max: 1, applicationName: "onedata-relay", parameters: { ...PLANNER, synchronous_commit: "off" } });

type Row = { last_lane: LaneId | null; more: boolean; route: string | null; batches: string | null };

export async function publishWaiting(sql: Sql, options: PublishOptions): Promise<Published> {
  const { firstMs, mostMs } = options.lostAfter ?? LOST_AFTER;
  const parameters = [
    MAX_LANES,
    MAX_ROWS,
    MAX_ROWS_PER_LANE,
    options.windowEvents,
    options.maxBatches,
    options.lostForMs,
    options.brokerIsEmpty === true ? 1 : 0,
    options.afterLane ?? 0,
    firstMs,
    mostMs,
    mostMs,
  ].map((value) => (value === undefined ? null : String(value)));
  const rows: readonly Row[] = await sql.unsafe(PUBLISH, parameters, { prepare: true });
  return {
    routes: rows.flatMap(({ route, batches }) => (route === null || batches === null ? [] : [{ route, batches: batches.split(";").map(unpack) }])),
    lastLane: rows[0]?.last_lane ?? undefined,
    more: rows[0]?.more ?? false,
  };
}

function unpack(line: string): PublishedBatch {
  const [batchId = "", laneId = "", publishSeq, n] = line.split(",");
  return { batchId: toBatchId(BigInt(batchId)), laneId: toLaneId(BigInt(laneId)), publishSeq: Number(publishSeq), n: Number(n) };
}

/** Returns how many wait again. */
export async function unpublish(sql: Sql, batches: readonly Pick<PublishedBatch, "batchId" | "publishSeq">[]): Promise<number> {
  if (batches.length === 0) return 0;
  const parameters = [`{${batches.map(({ batchId }) => batchId).join(",")}}`, `{${batches.map(({ publishSeq }) => publishSeq).join(",")}}`];
  const result = await sql.unsafe(UNPUBLISH, parameters, { prepare: true });
  return result.count;
}

/** In the engine's row, for doctors and health pages. `since` counts anew whenever the state is another one. */
export async function reportBroker(store: Store, incarnation: string, { broker, state }: { broker: string; state: string }): Promise<void> {
  await store.lease`
    update onedata.engines set broker = ${broker}, broker_state = ${state},
           broker_since = case when broker_state is distinct from ${state} then clock_timestamp() else broker_since end
     where incarnation = ${incarnation}`;
}
