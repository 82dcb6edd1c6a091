/**
 * Capture: makes accepted requests durable. Whoever calls has checked syntax, size and schema, and collects requests while the previous commit is in flight.
 *
 * Invariants:
 * 1. One statement and one commit per group; an answer `captured` is given only after the commit.
 * 2. One bad request never fails its neighbours: a group that fails is retried request by request.
 * 3. A COMMIT whose answer was lost is looked up, never retried blindly: the backend is ended first, then the batches are searched by nonce;
 *    only what is proven absent is written again.
 * 4. On a full disk a group is refused as a whole with `capture.disk_full`: nothing of it was written, and trying its requests one by one would only press on.
 * 5. The same idempotency key answers the first id; another body under it is a conflict; a key held by an open transaction is busy, for that request alone.
 */
import { createHash, randomUUID } from "node:crypto";
import { type BatchId, OneDataError, type PipelineId, toBatchId } from "@onedata/core";
import { type CaptureEvent, type CaptureTarget, type PackedBatch, packBatches } from "./capture-batches.ts";
import { findLostCommit, type LostCommit } from "./capture-lost.ts";
import { CAPTURE, CAPTURE_KEYED } from "./capture-sql.ts";
import { type CaptureConnection, isConnectionLost, type Sql, type Store, sqlStateOf, type Transaction, withPartitions } from "./connection.ts";

export type CaptureRequest = { readonly target: CaptureTarget; readonly events: readonly CaptureEvent[] };

export type CaptureOutcome =
  | { readonly kind: "captured"; readonly batchId: BatchId; readonly n: number; readonly duplicate: boolean }
  /** The pipeline is unknown to this tenant, being deleted, or another version is active now: check again and retry. */
  | { readonly kind: "refused"; readonly reason: "not_found" | "deleting" | "stale_version"; readonly activeVersion: number | undefined }
  | { readonly kind: "conflict" }
  | { readonly kind: "busy" }
  /** The commit's fate is unknown (`capture.unknown`), or the request itself cannot be stored. */
  | { readonly kind: "failed"; readonly error: OneDataError };

/**
 * Writes a group. Returns, per request, one outcome per event. Throws only when the database cannot be reached before anything was sent.
 * Requests of one ordered lane keep their order; two groups may run at once on two connections, so a caller keeps one open group per ordered lane.
 */
export async function captureGroup(store: Store, requests: readonly CaptureRequest[]): Promise<CaptureOutcome[][]> {
  const flat = flatten(requests);
  const outcomes = await store.capture.use((connection) => captureOrSplit(store, connection, requests, flat));
  let at = 0;
  return requests.map(({ events }) => outcomes.slice(at, (at += events.length)));
}

type Item = { readonly target: CaptureTarget; readonly event: CaptureEvent; readonly slot: number };

function flatten(requests: readonly CaptureRequest[]): Item[] {
  const items: Item[] = [];
  for (const { target, events } of requests) for (const event of events) items.push({ target, event, slot: items.length });
  return items;
}

async function captureOrSplit(
  store: Store,
  connection: CaptureConnection,
  requests: readonly CaptureRequest[],
  items: readonly Item[],
): Promise<CaptureOutcome[]> {
  try {
    return await captureItems(store, connection, items);
  } catch (error) {
    if (isConnectionLost(error)) throw error;
    if (sqlStateOf(error) === DISK_FULL) {
      const failed: CaptureOutcome = { kind: "failed", error: diskFull(error) };
      return items.map(() => failed);
    }
    if (requests.length === 1) return items.map(() => toFailure(error));
    // The requests without keys cannot be what waited for a lock: they go together, so one busy key costs them one lock_timeout and no more.
    if (sqlStateOf(error) === "55P03") {
      const isKeyed = (request: CaptureRequest): boolean => request.events.some((event) => event.idempotencyKey !== undefined);
      if (requests.some(isKeyed) && !requests.every(isKeyed)) return splitBy(store, connection, requests, isKeyed);
    }
    const outcomes: CaptureOutcome[] = [];
    for (const request of requests) outcomes.push(...(await captureOrSplit(store, connection, [request], flatten([request]))));
    return outcomes;
  }
}

/**
 * A full disk: a statement fails with it; where the WAL cannot grow the server ends with it (PANIC), and the driver tells so at the first statement of the next
 * connection, without having sent that.
 */
const DISK_FULL = "53100";

export const diskFull = (cause: unknown): OneDataError =>
  new OneDataError("capture.disk_full", "the database's disk is full: nothing was captured, and nothing that was captured is lost; try again later", {
    cause,
    retryAfterSeconds: 5,
  });

async function splitBy(
  store: Store,
  connection: CaptureConnection,
  requests: readonly CaptureRequest[],
  inSecond: (request: CaptureRequest) => boolean,
): Promise<CaptureOutcome[]> {
  const parts = [requests.filter((request) => !inSecond(request)), requests.filter(inSecond)];
  const queues: CaptureOutcome[][] = [];
  for (const part of parts) queues.push(await captureOrSplit(store, connection, part, flatten(part)));
  return requests.flatMap((request) => queues[inSecond(request) ? 1 : 0]?.splice(0, request.events.length) ?? []);
}

function toFailure(error: unknown): CaptureOutcome {
  if (sqlStateOf(error) === "55P03") return { kind: "busy" };
  return {
    kind: "failed",
    error:
      error instanceof OneDataError
        ? error
        : new OneDataError("store.busy", `the event could not be stored: ${error instanceof Error ? error.message : String(error)}`, {
            cause: error,
          }),
  };
}

async function captureItems(store: Store, connection: CaptureConnection, items: readonly Item[]): Promise<CaptureOutcome[]> {
  const keyed = items.some((item) => item.event.idempotencyKey !== undefined);
  const { first, rivals, copies } = keyed ? foldKeys(items) : { first: items, rivals: [], copies: [] };
  const batches = packBatches(first);
  const answer = await writeOrFind(store, connection, batches, keyed);
  if (answer instanceof OneDataError) return items.map(() => ({ kind: "failed", error: answer }));
  const outcomes = await toOutcomes(connection.sql, batches, answer, { count: items.length, rivals });
  for (const { slot, of } of copies) {
    const outcome = outcomes[of];
    if (outcome !== undefined) outcomes[slot] = outcome.kind === "captured" ? { ...outcome, duplicate: true } : outcome;
  }
  return outcomes;
}

/**
 * The answer, also when it was lost on the way. What is proven absent is written once more (a pooled connection may have died long before); when the
 * database does not come back, the fate stays unknown and the caller says so.
 */
async function writeOrFind(
  store: Store,
  connection: CaptureConnection,
  batches: readonly PackedBatch[],
  keyed: boolean,
): Promise<LostCommit | OneDataError> {
  for (let attempt = 0; ; attempt++) {
    const nonce = randomUUID();
    try {
      return await writeBatches(connection.sql, batches, nonce, keyed);
    } catch (cause) {
      if (!isConnectionLost(cause)) throw cause;
      const found = await findLostCommit(store, connection.applicationName, nonce, batches);
      if (typeof found === "object") return found;
      if (found === "unknown")
        return new OneDataError("capture.unknown", "the database went away while the event was being stored; it is not known whether it is there", {
          cause,
        });
      if (attempt === 2)
        return new OneDataError(
          "store.unavailable",
          "the database ended the connection three times while the event was being stored; nothing was stored",
          { cause },
        );
    }
  }
}

/** `of`: the slot whose outcome it shares. */
type Copy = { readonly slot: number; readonly of: number };
/** Another body under the key of slot `first`: judged by what is stored in the end, which need not be that first one. */
type Rival = Item & { readonly first: number };

/** Of the events with one key in one group, the first is written. Those with an equal body share one answer; each other body gets its own. */
function foldKeys(items: readonly Item[]): { first: readonly Item[]; rivals: readonly Rival[]; copies: readonly Copy[] } {
  const keys = new Map<string, { readonly first: number; readonly slotByBody: Map<string, number> }>();
  const first: Item[] = [];
  const rivals: Rival[] = [];
  const copies: Copy[] = [];
  for (const item of items) {
    const { slot, target, event } = item;
    if (event.idempotencyKey === undefined) {
      first.push(item);
      continue;
    }
    const key = `${target.tenantId}/${target.pipelineId}/${event.idempotencyKey}`;
    const known = keys.get(key);
    const same = known?.slotByBody.get(event.payload);
    if (known === undefined) {
      keys.set(key, { first: slot, slotByBody: new Map([[event.payload, slot]]) });
      first.push(item);
    } else if (same === undefined) {
      known.slotByBody.set(event.payload, slot);
      rivals.push({ ...item, first: known.first });
    } else copies.push({ slot, of: same });
  }
  return { first, rivals, copies };
}

const pack = (batches: readonly PackedBatch[], field: (event: CaptureEvent) => string): string =>
  batches.map((batch) => batch.events.map(field).join("\u001e")).join("\u001d");

const sha256 = (text: string): string => createHash("sha256").update(text, "utf8").digest("hex");

/** Runs the statement on `sql`, which may be a transaction (imports). */
export async function writeBatches(sql: Sql | Transaction, batches: readonly PackedBatch[], nonce: string, keyed: boolean): Promise<LostCommit> {
  const literal = (values: Iterable<unknown>): string => `{${[...values].join(",")}}`;
  const traced = batches.some((batch) => batch.events.some((event) => event.trace !== undefined));
  const ordered = batches.some((batch) => batch.target.ordered);
  const parameters: (string | null)[] = [
    literal(batches.map((batch) => batch.target.pipelineId)),
    literal(batches.map((batch) => batch.target.tenantId)),
    literal(batches.map((batch) => batch.target.version)),
    literal(batches.map((batch) => batch.target.laneClass)),
    literal(batches.map((batch) => batch.shard)),
    literal(batches.map((batch) => batch.bytes)),
    literal(batches.map((batch) => batch.events.length)),
    pack(batches, (event) => event.payload),
    traced ? pack(batches, (event) => (event.trace === undefined ? "" : Buffer.from(event.trace).toString("hex"))) : null,
    ordered ? pack(batches, (event) => event.orderingKey ?? "") : null,
    nonce,
    literal(batches.map((batch) => batch.target.importId ?? "null")),
  ];
  if (keyed) {
    parameters.push(
      pack(batches, (event) => (event.idempotencyKey === undefined ? "" : sha256(event.idempotencyKey))),
      pack(batches, (event) => (event.idempotencyKey === undefined ? "" : sha256(event.payload))),
    );
  }
  const statement = (): Promise<readonly { ids: string; kept?: string | null }[]> =>
    sql.unsafe(keyed ? CAPTURE_KEYED : CAPTURE, parameters, { prepare: true });
  const [row] = "savepoint" in sql ? await statement() : await withPartitions(sql, statement);
  return {
    ids: (row?.ids ?? "").split(",").map((id) => (id === "" ? undefined : toBatchId(BigInt(id)))),
    kept: keyed ? new Set((row?.kept ?? "").split(",")) : undefined,
  };
}

async function toOutcomes(
  sql: Sql,
  batches: readonly PackedBatch[],
  { ids, kept }: LostCommit,
  { count, rivals }: { count: number; rivals: readonly Rival[] },
): Promise<CaptureOutcome[]> {
  const outcomes = new Array<CaptureOutcome>(count);
  const losers: Item[] = [];
  const refused: PackedBatch[] = [];
  batches.forEach((batch, g) => {
    const batchId = ids[g];
    if (batchId === undefined) {
      refused.push(batch);
      return;
    }
    batch.slots.forEach((slot, n) => {
      const event = batch.events[n];
      if (event === undefined) return;
      if (event.idempotencyKey !== undefined && kept?.has(`${batchId}:${n}`) === false) losers.push({ slot, target: batch.target, event });
      else outcomes[slot] = { kind: "captured", batchId, n, duplicate: false };
    });
  });
  if (refused.length > 0) await answerRefused(sql, refused, outcomes);
  for (const rival of rivals) {
    const outcome = outcomes[rival.first];
    // Nothing was written under its key; the caller looks the pipeline up again, for both.
    if (outcome?.kind === "refused") outcomes[rival.slot] = outcome;
    else losers.push(rival);
  }
  if (losers.length > 0) await answerLosers(sql, losers, outcomes);
  return outcomes;
}

/** The second select: the rows of whoever was first, committed by now. */
async function answerLosers(sql: Sql, losers: readonly Item[], outcomes: CaptureOutcome[]): Promise<void> {
  const rows: readonly { o: bigint; batch_id: bigint | null; n: number | null; same: boolean | null }[] = await sql.unsafe(
    `select x.o, i.batch_id, i.n, i.body_hash = decode(x.body, 'hex') as same
       from unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[]) with ordinality x(tenant_id, pipeline_id, key, body, o)
       left join onedata.idempotency_keys i on i.tenant_id = x.tenant_id and i.pipeline_id = x.pipeline_id and i.key_hash = decode(x.key, 'hex')`,
    [
      `{${losers.map(({ target }) => target.tenantId).join(",")}}`,
      `{${losers.map(({ target }) => target.pipelineId).join(",")}}`,
      `{${losers.map(({ event }) => sha256(event.idempotencyKey ?? "")).join(",")}}`,
      `{${losers.map(({ event }) => sha256(event.payload)).join(",")}}`,
    ],
    { prepare: true },
  );
  for (const row of rows) {
    const loser = losers[Number(row.o) - 1];
    if (loser === undefined) continue;
    // No row: its 24 hours ended between the two statements. The next try captures it.
    if (row.batch_id === null || row.n === null) outcomes[loser.slot] = { kind: "busy" };
    else
      outcomes[loser.slot] =
        row.same === true ? { kind: "captured", batchId: toBatchId(row.batch_id), n: row.n, duplicate: true } : { kind: "conflict" };
  }
}

async function answerRefused(sql: Sql, refused: readonly PackedBatch[], outcomes: CaptureOutcome[]): Promise<void> {
  const pipelines = [...new Set(refused.map((batch) => batch.target.pipelineId))];
  const rows: readonly { id: PipelineId; tenant_id: bigint; state: string; active_version: number | null }[] = await sql.unsafe(
    "select id, tenant_id, state, active_version from onedata.pipelines where id = any($1::bigint[])",
    [`{${pipelines.join(",")}}`],
    { prepare: true },
  );
  for (const { target, slots } of refused) {
    const row = rows.find((candidate) => candidate.id === target.pipelineId && candidate.tenant_id === target.tenantId);
    const reason = row === undefined ? "not_found" : row.state === "deleting" ? "deleting" : "stale_version";
    for (const slot of slots)
      outcomes[slot] = { kind: "refused", reason, activeVersion: reason === "stale_version" ? (row?.active_version ?? undefined) : undefined };
  }
}
