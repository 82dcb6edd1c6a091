import { loadV1 } from "@onedata/contracts";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { OneDataError } from "../errors/onedata-error.ts";
import type { Plan, PlanSink } from "../plan/plan.ts";
import { executeRun } from "./execute-run.ts";
import type { EventResult, PlaceTries, RunEvent, RunGroup, RunServices } from "./run.ts";
import { createSinkWitness, type SinkWitness } from "./sink-witness.ts";

const encode = (v: number): Uint8Array => new TextEncoder().encode(JSON.stringify({ v }));
const decode = (json: Uint8Array): number => (JSON.parse(new TextDecoder().decode(json)) as { v: number }).v;

type Answer = "ok" | "500" | "503";
type Waiting = { readonly v: number; readonly key?: string; tries: number; places: Readonly<Record<string, PlaceTries>>; dueMs: number };

/**
 * Engines, a load service that sends batches as `http.post` does, and a receiver that answers as `judge` says. Time is a number; lanes and batches are not
 * modelled: what a lane's block holds is due half a second later.
 */
class Sink {
  readonly written: number[] = [];
  readonly dead = new Map<number, string>();
  readonly causes: string[] = [];
  requests = 0;
  nowMs = 0;
  blocked = 0;
  waiting: Waiting[] = [];
  results: EventResult[] = [];
  readonly #judge: (value: number, nowMs: number) => Answer;
  readonly #how: { readonly batchSize: number; readonly sink: Partial<PlanSink>; readonly thrown: boolean };

  constructor(judge: (value: number, nowMs: number) => Answer, how: { batchSize?: number; sink?: Partial<PlanSink>; thrown?: boolean } = {}) {
    this.#judge = judge;
    this.#how = { batchSize: how.batchSize ?? 100, sink: how.sink ?? {}, thrown: how.thrown ?? false };
  }

  add(values: readonly number[], key?: (value: number) => string): void {
    for (const v of values) this.waiting.push({ v, tries: 0, places: {}, dueMs: this.nowMs, ...(key === undefined ? {} : { key: key(v) }) });
  }

  #post(values: readonly number[]): Answer {
    this.requests += 1;
    const answers = values.map((value) => this.#judge(value, this.nowMs));
    if (answers.includes("503")) return "503";
    if (answers.includes("500")) return "500";
    this.written.push(...values);
    return "ok";
  }

  readonly #services: RunServices = {
    apply: () => Promise.reject(new Error("no steps here")),
    worksForOthers: () => false,
    write: (_, { groups }) => {
      const results: loadV1.WriteResult[] = [];
      for (const { records } of groups) {
        let failed: Answer = "ok";
        for (let at = 0; at < records.length; at += this.#how.batchSize) {
          const batch = records.slice(at, at + this.#how.batchSize);
          const answer: Answer | undefined = failed === "ok" ? this.#post(batch.map(({ json }) => decode(json))) : undefined;
          if (answer === "500" && this.#how.thrown) return Promise.reject(new OneDataError("internal", "boom"));
          if (answer !== undefined) failed = answer;
          const blame = failed === "503" ? undefined : answer === undefined ? loadV1.Blame.NONE : loadV1.Blame.UNCLEAR;
          const value = { code: "sink.unavailable", message: `http://sink answers ${failed}`, retryable: true, retryAfter: undefined, blame };
          for (const { n } of batch) results.push({ n, outcome: answer === "ok" ? { $case: "written", value: {} } : { $case: "failed", value } });
        }
      }
      return Promise.resolve({ results });
    },
  };

  /** One run of what is due, at most 500 events. */
  async run(witness: SinkWitness | undefined): Promise<void> {
    const due = this.waiting.filter(({ dueMs }) => dueMs <= this.nowMs).slice(0, 500);
    if (due.length === 0) return;
    const sink: PlanSink = { id: "billing", kind: "http.post", service: "load", config: {}, configHash: "h", inputs: ["input"], ...this.#how.sink };
    const plan: Plan = { route: ">load", stages: [], sinks: [sink] };
    const events = due.map(
      ({ v, key, tries, places }): RunEvent => ({
        source: { batchId: BigInt(v), seq: BigInt(v), n: 0, generation: 0 },
        json: encode(v),
        timeUnixNanos: 0n,
        progress: { sinksDone: [], tries, places },
        ...(key === undefined ? {} : { orderingKey: key }),
      }),
    );
    const group: RunGroup = { pipeline: "p", version: 1, tenant: "t", plan, events };
    const result = await executeRun([group], {
      services: this.#services,
      runId: "r",
      installation: "i",
      monotonicMs: () => 0,
      evaluateWhen: () => true,
      ...(witness === undefined ? {} : { witness }),
    });
    this.results = [...(result.groups[0]?.events ?? [])];
    this.blocked = 0;
    for (const [i, event] of due.entries()) {
      const own = this.results[i];
      if (own?.kind === "pending") {
        event.tries = own.tries;
        event.places = own.places;
        if (own.fault !== undefined) this.blocked += 1;
        event.dueMs = this.nowMs + (own.fault === undefined ? own.retryAfterMs : 500);
        continue;
      }
      this.waiting = this.waiting.filter((other) => other !== event);
      if (own?.kind === "dead") {
        this.dead.set(event.v, own.causes[0]?.code ?? "");
        this.causes.push(own.causes[0]?.message ?? "");
      }
    }
  }

  /** Runs until nothing waits or the time is over; new events come as `traffic` says. */
  async runFor(
    ms: number,
    { witness, traffic, stepMs = 500 }: { witness: SinkWitness; traffic?: () => number | undefined; stepMs?: number },
  ): Promise<void> {
    for (const endMs = this.nowMs + ms; this.nowMs < endMs; this.nowMs += stepMs) {
      const value = traffic?.();
      if (value !== undefined) this.add([value]);
      await this.run(witness);
      if (this.waiting.length === 0 && traffic === undefined) return;
    }
  }
}

const range = (count: number, from = 0): number[] => Array.from({ length: count }, (_, i) => from + i);
const counter = (): (() => number) => {
  let next = 10_000;
  return () => next++;
};

describe("one record that a sink answers with 500", () => {
  it.each([
    false,
    true,
  ])("stands alone in one run, its neighbours are written in it, and it is tried again alone (whole call fails: %s)", async (thrown) => {
    const sink = new Sink((v) => (v === 333 ? "500" : "ok"), { thrown });
    sink.add(range(500));
    await sink.run(createSinkWitness());
    expect(new Set(sink.written)).toEqual(new Set(range(500).filter((v) => v !== 333)));
    expect(sink.blocked).toBe(0);
    expect(sink.requests).toBeLessThanOrEqual(40);
    expect(sink.results[333]).toMatchObject({
      kind: "pending",
      retry: { code: "sink.failed", alone: "proved", limit: 5 },
      tries: 1,
      retryAfterMs: 4_000,
      fault: undefined,
    });
  });

  it("dies after its tries, with the sink's answer, while others are written", async () => {
    const sink = new Sink((v) => (v === 333 ? "500" : "ok"));
    sink.add(range(500));
    await sink.runFor(300_000, { witness: createSinkWitness(), traffic: counter() });
    expect([...sink.dead]).toEqual([[333, "sink.failed"]]);
    expect(sink.causes).toEqual(["http://sink answers 500 (this record failed alone 5 times, and meanwhile the sink wrote others)"]);
  });

  it.each([0, 1, 250, 498, 499])("dies too where nothing is sent any more, wherever it stood (%i of 500)", async (bad) => {
    const sink = new Sink((v) => (v === bad ? "500" : "ok"));
    sink.add(range(500));
    await sink.runFor(61_000, { witness: createSinkWitness() });
    expect([...sink.dead]).toEqual([[bad, "sink.failed"]]);
    expect(sink.nowMs).toBeGreaterThanOrEqual(60_000);
  });

  it("never dies, and holds up nobody, while nothing else is written", async () => {
    const sink = new Sink((v) => (v === 7 ? "500" : "ok"));
    sink.add([7]);
    const witness = createSinkWitness();
    await sink.runFor(3_600_000, { witness });
    expect(sink.dead.size).toBe(0);
    expect(sink.waiting).toMatchObject([{ v: 7, tries: 0 }]);
    expect(sink.results).toMatchObject([{ kind: "pending", fault: undefined, retry: { alone: "unproved" }, retryAfterMs: 60_000 }]);
    sink.add([8]);
    await sink.run(witness);
    expect(sink.written).toEqual([8]);
  });

  it("dies at its first proved failure where the sink allows no retries", async () => {
    const sink = new Sink((v) => (v === 3 ? "500" : "ok"), { sink: { retries: 0 } });
    sink.add(range(10));
    await sink.run(createSinkWitness());
    expect([...sink.dead]).toEqual([[3, "sink.failed"]]);
    expect(sink.causes[0]).toContain("(this record failed alone once, and after it the sink wrote others)");
  });

  it("is judged by several engines that know nothing of each other", async () => {
    const sink = new Sink((v) => (v === 3 ? "500" : "ok"));
    sink.add(range(10));
    const engines = [createSinkWitness(), createSinkWitness(), createSinkWitness()];
    const traffic = counter();
    for (let i = 0; i < 600 && sink.waiting.length > 0; i++) {
      sink.add([traffic()]);
      await sink.run(engines[i % 3]);
      sink.nowMs += 500;
    }
    expect([...sink.dead.keys()]).toEqual([3]);
  });

  it("holds only its own key where order counts", async () => {
    const sink = new Sink((v) => (v === 2 ? "500" : "ok"), { batchSize: 1 });
    sink.add(range(9), (v) => `k${v % 3}`);
    const witness = createSinkWitness();
    await sink.run(witness);
    expect(sink.written).toEqual([0, 1, 3, 4, 6, 7]);
    // Its followers wait with it: claims hold them back, which this model does not know.
    sink.waiting = sink.waiting.filter(({ v }) => v === 2);
    sink.add([9, 10], (v) => `k${v % 3}`);
    await sink.run(witness);
    expect(sink.written).toEqual([0, 1, 3, 4, 6, 7, 9, 10]);
    const traffic = counter();
    for (let i = 0; i < 200 && sink.dead.size === 0; i++) {
      sink.nowMs += 500;
      sink.add([traffic() * 3], (v) => `k${v % 3}`);
      await sink.run(witness);
    }
    expect([...sink.dead.keys()]).toEqual([2]);
  });

  it("finds hundreds of bad records in a row", async () => {
    const sink = new Sink((v) => (v >= 50 && v < 250 ? "500" : "ok"));
    sink.add(range(500));
    await sink.runFor(600_000, { witness: createSinkWitness(), traffic: counter() });
    expect([...sink.dead.keys()].sort((a, b) => a - b)).toEqual(range(200, 50));
  });
});

describe("a sink that is down for everybody", () => {
  it.each<[string, Answer, boolean]>([
    ["answers 503", "503", false],
    ["answers 500 to everything", "500", false],
    ["fails every call", "500", true],
  ])("kills nothing when it %s for an hour, is asked little, and gets all when it mends", async (_what, answer, thrown) => {
    let isDown = true;
    const sink = new Sink(() => (isDown ? answer : "ok"), { thrown });
    const witness = createSinkWitness();
    sink.add(range(500));
    await sink.run(witness);
    const first = sink.requests;
    expect(first).toBeLessThanOrEqual(25);
    expect(sink.blocked).toBeGreaterThan(490);
    await sink.runFor(3_600_000, { witness, stepMs: 60_000 });
    // One record at a time, and what failed alone before.
    expect(sink.requests - first).toBeLessThan(60 * 3);
    expect(sink.dead.size).toBe(0);
    isDown = false;
    await sink.runFor(600_000, { witness });
    expect(new Set(sink.written)).toEqual(new Set(range(500)));
    expect(sink.dead.size).toBe(0);
  });

  it("blames nobody over outages fewer than a record's tries, whenever they come and however the events do", async () => {
    const outage = fc.record({ afterMs: fc.integer({ min: 0, max: 40_000 }), forMs: fc.integer({ min: 1, max: 200_000 }) });
    await fc.assert(
      fc.asyncProperty(
        fc.array(outage, { maxLength: 4 }),
        fc.integer({ min: 1, max: 300 }),
        fc.integer({ min: 1, max: 7 }),
        fc.constantFrom(1, 7, 100),
        fc.boolean(),
        async (outages, backlog, everyNth, batchSize, ordered) => {
          let atMs = 0;
          const windows = outages.map(({ afterMs, forMs }) => {
            const fromMs = atMs + afterMs;
            atMs = fromMs + forMs;
            return { fromMs, toMs: atMs };
          });
          const sink = new Sink((_, nowMs) => (windows.some(({ fromMs, toMs }) => nowMs >= fromMs && nowMs < toMs) ? "500" : "ok"), { batchSize });
          const witness = createSinkWitness();
          const key = ordered ? (v: number): string => `k${v % 5}` : undefined;
          sink.add(range(backlog), key);
          let ticks = 0;
          for (; sink.nowMs < atMs + 200_000; sink.nowMs += 500) {
            if (ticks++ % everyNth === 0 && sink.nowMs < atMs) sink.add([1_000 + ticks], key);
            await sink.run(witness);
          }
          expect([...sink.dead]).toEqual([]);
          expect(sink.waiting).toEqual([]);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("loses its bad records in the end, and none other, whichever they are", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(fc.integer({ min: 0, max: 199 }), { maxLength: 12 }), fc.boolean(), async (bad, ordered) => {
        const sink = new Sink((v) => (bad.includes(v) ? "500" : "ok"));
        sink.add(range(200), ordered ? (v) => `k${v % 20}` : undefined);
        await sink.runFor(400_000, { witness: createSinkWitness(), traffic: counter() });
        expect([...sink.dead.keys()].sort((a, b) => a - b)).toEqual([...bad].sort((a, b) => a - b));
      }),
      { numRuns: 30 },
    );
  });
});
