/** The load of `growth.ts`: captures at a steady rate or as fast as they go, and one engine that claims, loads, completes with outputs, and looks for abandoned runs. */
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { type CaptureRequest, type Claimer, captureGroup, completeRun, createClaimer, loadEvents, reclaim, type Store } from "@onedata/store";

export type Target = CaptureRequest["target"];

export const PAYLOAD = JSON.stringify({ id: 123456, customer: "customer-42", price: 12.5, quantity: 3, country: "NO", note: "x".repeat(100) });
const RECLAIM_EVERY_MS = 2_000;
const IDLE_MS = 2;
const CAPTURE_EVERY_MS = 5;
const MOST_PER_CAPTURE = 100;

export type Engine = {
  /** Claims once and finishes what it got; false = nothing waited. */
  work(): Promise<boolean>;
  readonly figures: { claims: number; claimMs: number; runs: number; readonly finishedAt: Map<bigint, number> };
};

export function createEngine(store: Store, incarnation: string): Engine {
  const claimer: Claimer = createClaimer(store);
  const figures: Engine["figures"] = { claims: 0, claimMs: 0, runs: 0, finishedAt: new Map() };
  return {
    figures,
    async work() {
      const at = performance.now();
      const run = await claimer.claim({ runId: randomUUID(), owner: incarnation, deadlineMs: 60_000, engines: [incarnation] });
      figures.claims += 1;
      figures.claimMs += performance.now() - at;
      if (run === undefined) return false;
      figures.runs += 1;
      const events = await loadEvents(store, run.batches);
      const batches = run.batches.map((batch) => {
        const own = events.get(batch.batchId) ?? [];
        return {
          ...batch,
          orderedLaneId: batch.ordered ? batch.laneId : undefined,
          verdicts: new Uint8Array(own.length).fill(1),
          counts: { delivered: own.length, filtered: 0, dead: 0 },
          outputs: [{ sink: 0, ordinals: own.map(({ n }) => n), payloads: own.map((event) => event.payload) }],
        };
      });
      await completeRun(store, { runId: run.runId, engine: incarnation, wokenBy: "bench", durationMs: 1, batches });
      const now = performance.now();
      for (const { batchId } of run.batches) figures.finishedAt.set(batchId, now);
      return true;
    },
  };
}

/** Captures `count` events in full batches and works them off. */
export async function grow(store: Store, target: Target, engine: Engine, count: number): Promise<void> {
  for (let left = count; left > 0; ) {
    const groups: CaptureRequest[] = [];
    for (let g = 0; g < 20 && left > 0; g++) {
      const events = toEvents(target, Math.min(MOST_PER_CAPTURE, left));
      left -= events.length;
      groups.push({ target, events });
    }
    await Promise.all([captureGroup(store, groups), drain(engine)]);
  }
  await drain(engine);
  engine.figures.finishedAt.clear();
}

async function drain(engine: Engine): Promise<void> {
  while (await engine.work()) {}
}

export type Measured = {
  readonly latencies: readonly number[];
  readonly events: number;
  readonly claims: number;
  readonly claimMs: number;
  readonly runs: number;
  readonly captures: number;
};

/** Single events at a steady rate for some seconds. */
export async function measure(
  store: Store,
  target: Target,
  { engine, seconds, rate }: { engine: Engine; seconds: number; rate: number },
): Promise<Measured> {
  const { figures } = engine;
  const before = { claims: figures.claims, claimMs: figures.claimMs, runs: figures.runs };
  const startedAt = new Map<bigint, number>();
  let open = true;
  const engineLoop = (async () => {
    while (open) if (!(await engine.work())) await pause(IDLE_MS);
    await drain(engine);
  })();
  const reclaimLoop = (async () => {
    for (; open; await pause(RECLAIM_EVERY_MS)) await reclaim(store);
  })();
  let events = 0;
  let captures = 0;
  for (const begin = performance.now(); performance.now() < begin + seconds * 1000; await pause(CAPTURE_EVERY_MS)) {
    const due = Math.min(MOST_PER_CAPTURE, Math.round(((performance.now() - begin) / 1000) * rate) - events);
    if (due <= 0) continue;
    const at = performance.now();
    const outcomes = await captureGroup(store, [{ target, events: toEvents(target, due) }]);
    for (const outcome of outcomes.flat()) if (outcome.kind === "captured") startedAt.set(outcome.batchId, at);
    events += due;
    captures += 1;
  }
  open = false;
  await Promise.all([engineLoop, reclaimLoop]);
  const latencies = [...startedAt].flatMap(([id, at]) => {
    const done = figures.finishedAt.get(id);
    return done === undefined ? [] : [done - at];
  });
  figures.finishedAt.clear();
  return {
    latencies: latencies.sort((a, b) => a - b),
    events,
    claims: figures.claims - before.claims,
    claimMs: figures.claimMs - before.claimMs,
    runs: figures.runs - before.runs,
    captures,
  };
}

const toEvents = ({ ordered }: Target, count: number): CaptureRequest["events"] =>
  Array.from({ length: count }, (_, i) => ({ payload: PAYLOAD, ...(ordered ? { orderingKey: `key-${i % 50}` } : {}) }));
