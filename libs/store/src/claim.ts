/**
 * Claims: what an engine asks for work with. `claim-sql.ts` has the statements and their rules.
 *
 * Duty: retry at once after a claim that lost all it picked to another engine; prefer the own slice of the lanes; remember where to look next.
 * Non-duty: when to claim (a wake-up, the end of a run, a full claim), and how many runs a route may have open.
 */
import { type BatchId, type LaneId, type PipelineId, type TenantId, toBatchId, toLaneId, toPipelineId, toTenantId } from "@onedata/core";
import type { LaneClass } from "./capture-batches.ts";
import { CLAIM, CLAIM_SUSPECT, WAITING_ROUTES } from "./claim-sql.ts";
import type { Store } from "./connection.ts";

export const RUN_TARGET_EVENTS = 500;
export const RUN_TARGET_BYTES = 1024 * 1024;
const MAX_LANES = 200;
const BULK_RESERVE = 0.1;
const IMMEDIATE_RETRIES = 3;
/** A run this full of its target counts as full. */
export const FULL_SHARE = 0.8;
/** What has waited longer is left by its engine, which is busy, slow or gone. Some times longer than a run of an engine that keeps up. */
export const LEFT_AFTER_MS = 100;

/** What earlier attempts left: the ordinals without a final verdict, each with the retries its record asked for, why, and the sinks that have it. */
export type Progress = readonly {
  readonly n: number;
  readonly tries: number;
  readonly sinksDone: readonly string[];
  /** Counts by `step a` or `sink b`; an engine of the release before writes none. */
  readonly places?: Readonly<Record<string, { readonly tries: number; readonly alone?: number }>> | undefined;
  /** For people: step or sink, code and message of the last failure for now; how many tries it has, and whether it failed alone in a sink. */
  readonly retry?:
    | {
        readonly at: string;
        readonly code: string;
        readonly message: string;
        readonly limit?: number | undefined;
        readonly alone?: "proved" | "unproved" | undefined;
      }
    | undefined;
}[];

export type ClaimedBatch = {
  readonly batchId: BatchId;
  readonly seq: bigint;
  readonly laneId: LaneId;
  readonly laneClass: LaneClass;
  readonly ordered: boolean;
  readonly tenantId: TenantId;
  readonly pipelineId: PipelineId;
  readonly version: number;
  readonly n: number;
  readonly bytes: number;
  /** Numbers the claims of this batch. */
  readonly attempt: number;
  /** Crashes with this batch in flight. */
  readonly failures: number;
  readonly kind: "capture" | "replay" | "backfill" | "shadow";
  readonly generation: number;
  readonly importId: bigint | undefined;
  readonly jobId: bigint | undefined;
  /** No gateway has held its events against the input schema: they came through the SQL functions. */
  readonly unchecked: boolean;
  /** The half of a crashed run it was in, 0 = of none: halves are run apart. */
  readonly part: number;
  /** Of its lane, in a row, when it was claimed: a good run clears them. */
  readonly blockFailures: number;
  readonly progress: Progress | undefined;
};

export type ClaimedRun = {
  readonly runId: string;
  /** The engine's incarnation that holds it. */
  readonly owner: string;
  readonly route: string;
  readonly batches: readonly ClaimedBatch[];
  readonly events: number;
  /** Batches that were picked and taken by somebody else in between. */
  readonly lost: number;
  readonly suspect: boolean;
};

export type ClaimOptions = {
  /** UUID made by the claimer: a counter could be issued twice after a failover. */
  readonly runId: string;
  /** The engine's incarnation. */
  readonly owner: string;
  /** Absent: the first route in rotation that is not skipped. */
  readonly route?: string;
  readonly skipRoutes?: readonly string[];
  readonly maxEvents?: number;
  readonly maxBytes?: number;
  /** With a run of this route open already: 80 % of the target; else 0. */
  readonly minEvents?: number;
  /** Moves on after every finished call: `touchRun`. */
  readonly deadlineMs: number;
  /** Incarnations of all living engines, this one included: each has a slice of the lanes. */
  readonly engines?: readonly string[];
  /** False: the own slice only (`createClaimer` decides); else, when nothing waits there, also what others leave (`LEFT_AFTER_MS`). */
  readonly others?: boolean;
  /** Pointers of a broker's message. */
  readonly prefer?: readonly BatchId[];
  /** The lanes of the preferred batches, each once. */
  readonly preferLanes?: readonly LaneId[];
  /** Where the last claim stopped looking (`Claimer` keeps it). */
  readonly afterLane?: LaneId | undefined;
  /** Of the last claim of this route (`createClaimer` keeps it): how deep each lane is worth a look. */
  readonly eventsPerBatch?: number | undefined;
  /** Look at these lanes only, each from this `seq` on (`createClaimer` decides). */
  readonly lanes?: ReadonlyMap<LaneId, bigint> | undefined;
  readonly suspect?: boolean;
};

export type ClaimResult = {
  readonly run: ClaimedRun | undefined;
  readonly lastLane: LaneId | undefined;
  /** Dead queue rows that this connection has walked over since the server last took its statistics: it grows, and begins anew. */
  readonly deadRows: number;
};

type Row = { picked: number; route: string; last_lane: LaneId | null; batches: string | null; progress: string | null; dead_rows?: bigint };

/**
 * One claim, with at most three immediate retries when other engines took all it picked. `run` is absent when nothing (or less than `minEvents`) waits.
 * Of other engines' slices it takes what fills a run, or has been left for a while: two engines that share every lane halve each other's runs, and cost half as
 * much again per event (ADR 33).
 */
export async function claimRun(store: Store, options: ClaimOptions): Promise<ClaimResult> {
  const several = (options.engines?.length ?? 1) > 1 && options.suspect !== true;
  const own = await claimOnce(store, options, several ? "own" : "all");
  if (own.run !== undefined || !several || options.others === false) return own;
  // Beside an open run of the route only full ones are started.
  if ((options.minEvents ?? 0) > 0) return claimOnce(store, options, "all");
  return claimOnce(store, { ...options, minEvents: FULL_SHARE * (options.maxEvents ?? RUN_TARGET_EVENTS) }, "left");
}

/** Own lanes; all of them; or all, but of those only what is full or has been left. */
type Lanes = "own" | "all" | "left";

async function claimOnce(store: Store, options: ClaimOptions, which: Lanes): Promise<ClaimResult> {
  let lost = 0;
  for (let attempt = 0; ; attempt++) {
    const rows: readonly Row[] = await store.claim.unsafe(options.suspect === true ? CLAIM_SUSPECT : CLAIM, toParameters(options, which), {
      prepare: true,
    });
    const row = rows[0];
    const batches = row?.batches == null ? [] : unpack(row.batches, row.progress);
    const picked = row?.picked ?? 0;
    lost += picked - batches.length;
    const lastLane = row?.last_lane ?? options.afterLane;
    const deadRows = Number(row?.dead_rows ?? 0);
    if (row !== undefined && batches.length > 0) return { run: toRun(options, row.route, batches, lost), lastLane, deadRows };
    // Less than `minEvents` was there, or nothing at all.
    if (picked === 0 || attempt === IMMEDIATE_RETRIES) return { run: undefined, lastLane, deadRows };
  }
}

function toParameters(options: ClaimOptions, which: Lanes): (string | null)[] {
  const skip = toTextArray(options.skipRoutes ?? []);
  const deadline = String(options.deadlineMs);
  const maxEvents = options.maxEvents ?? RUN_TARGET_EVENTS;
  if (options.suspect === true) return [skip, options.runId, options.owner, deadline];
  return [
    options.route ?? null,
    skip,
    options.runId,
    options.owner,
    String(maxEvents),
    String(options.maxBytes ?? RUN_TARGET_BYTES),
    String(Math.ceil(options.minEvents ?? 0)),
    String(options.afterLane ?? 0),
    String(MAX_LANES),
    deadline,
    which === "own" ? String(toSeed(options.owner)) : null,
    `{${(options.engines ?? []).map(toSeed).join(",")}}`,
    `{${(options.prefer ?? []).join(",")}}`,
    String(Math.round(maxEvents * BULK_RESERVE)),
    String(Math.max(1, options.eventsPerBatch ?? 1)),
    options.lanes === undefined ? null : `{${[...options.lanes.keys()].join(",")}}`,
    options.lanes === undefined ? null : `{${[...options.lanes.values()].join(",")}}`,
    `{${(options.preferLanes ?? []).join(",")}}`,
    which === "left" ? String(LEFT_AFTER_MS) : null,
  ];
}

/** 63 bits of the incarnation's UUID: the seed of its rendezvous hash. */
const toSeed = (incarnation: string): bigint => BigInt(`0x${incarnation.replaceAll("-", "").slice(0, 16)}`) >> 1n;

const toTextArray = (values: readonly string[]): string => `{${values.map((value) => `"${value.replace(/["\\]/g, "\\$&")}"`).join(",")}}`;

function toRun(options: ClaimOptions, route: string, batches: readonly ClaimedBatch[], lost: number): ClaimedRun {
  const events = batches.reduce((sum, batch) => sum + batch.n, 0);
  return { runId: options.runId, owner: options.owner, route, batches, events, lost, suspect: options.suspect === true };
}

/** In the order of `PACKED` in `claim-sql.ts`. */
function unpack(text: string, progress: string | null): ClaimedBatch[] {
  const progresses = progress?.split("\u001d");
  return text.split(";").map((line, i) => {
    const [
      batchId = "",
      seq = "",
      laneId = "",
      tenantId = "",
      pipelineId = "",
      version,
      n,
      bytes,
      attempt,
      failures,
      generation,
      importId = "0",
      jobId = "0",
      laneClass,
      ordered,
      kind,
      unchecked,
      part,
      blockFailures,
    ] = line.split(",");
    const parsed: unknown = progresses?.[i] === undefined || progresses[i] === "" ? undefined : JSON.parse(progresses[i]);
    return {
      batchId: toBatchId(BigInt(batchId)),
      seq: BigInt(seq),
      laneId: toLaneId(BigInt(laneId)),
      tenantId: toTenantId(BigInt(tenantId)),
      pipelineId: toPipelineId(BigInt(pipelineId)),
      version: Number(version),
      n: Number(n),
      bytes: Number(bytes),
      attempt: Number(attempt),
      failures: Number(failures),
      generation: Number(generation),
      importId: importId === "0" ? undefined : BigInt(importId),
      jobId: jobId === "0" ? undefined : BigInt(jobId),
      laneClass: laneClass === "b" ? "bulk" : "live",
      ordered: ordered === "1",
      kind: kind === "replay" || kind === "backfill" || kind === "shadow" ? kind : "capture",
      unchecked: unchecked === "1",
      part: Number(part),
      blockFailures: Number(blockFailures),
      progress: isProgress(parsed) ? parsed : undefined,
    };
  });
}

const isProgress = (value: unknown): value is Progress => Array.isArray(value);

export type WaitingRoute = {
  readonly route: string;
  readonly lanes: number /** Counted up to ten batches per lane. */;
  readonly events: number;
  readonly suspects: number;
};

/** The routes with work that may run now, oldest first. */
export async function readWaitingRoutes(store: Store): Promise<readonly WaitingRoute[]> {
  const rows: readonly WaitingRoute[] = await store.claim.unsafe(WAITING_ROUTES, ["2000", "10"], { prepare: true });
  return rows.map(({ route, lanes, events, suspects }) => ({ route, lanes, events, suspects }));
}
