import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { OneDataError } from "../errors/onedata-error.ts";
import type { Plan, Stage } from "../plan/plan.ts";
import { executeRun } from "./execute-run.ts";
import type { RunDeps, RunEvent, RunGroup, RunServices } from "./run.ts";

const encode = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
const decode = (bytes: Uint8Array): { v: number; copies?: number } => JSON.parse(new TextDecoder().decode(bytes));

/** A service that behaves: it computes over the records it is sent. `v` decides what happens to a record. */
function createService(rules: { poison?: number; down?: boolean; skips?: boolean; refuses?: number } = {}) {
  const calls = { apply: 0, write: 0 };
  const rows: string[] = [];
  const services: RunServices = {
    async apply(_service, request) {
      calls.apply++;
      if (rules.down) throw new OneDataError("service.unavailable", "connection refused");
      const records = request.groups.flatMap((g) => g.records);
      if (records.some((r) => decode(r.json).v === rules.poison)) throw new OneDataError("request.invalid", "cannot read a record");
      return {
        results: records.slice(rules.skips ? 1 : 0).map(({ n, json }) => {
          const record = decode(json);
          if (record.v === 13) return { n, outcome: { $case: "filtered" as const, value: { step: 0 } } };
          if (record.v === 17)
            return {
              n,
              outcome: {
                $case: "failed" as const,
                value: { step: 0, code: "record.invalid", message: "17", retryable: false, retryAfter: undefined, json: new Uint8Array() },
              },
            };
          if (record.v === 19)
            return {
              n,
              outcome: {
                $case: "failed" as const,
                value: { step: 0, code: "busy", message: "later", retryable: true, retryAfter: undefined, json: new Uint8Array() },
              },
            };
          return { n, outcome: { $case: "outputs" as const, value: { json: Array.from({ length: record.copies ?? 1 }, () => json) } } };
        }),
      };
    },
    async write(_service, request) {
      calls.write++;
      return {
        results: request.groups
          .flatMap((g) => g.records)
          .map(({ n, key, json }) => {
            if (decode(json).v === rules.refuses)
              return {
                n,
                outcome: { $case: "failed" as const, value: { code: "sink.rejected", message: "no", retryable: false, retryAfter: undefined } },
              };
            rows.push(key);
            return { n, outcome: { $case: "written" as const, value: {} } };
          }),
      };
    },
    worksForOthers: () => false,
  };
  return { services, calls, rows };
}

const stage = (id: string, more: Partial<Stage> = {}): Stage => ({
  service: "transform",
  steps: [{ id, index: 0, operation: "record.map", config: {}, configHash: "h" }],
  inputs: ["input"],
  ...more,
});
const outputs = (inputs: Plan["sinks"][number]["inputs"]) => ({
  id: "out",
  kind: "onedata.outputs",
  service: "engine",
  config: {},
  configHash: "h",
  inputs,
});
const table = (inputs: Plan["sinks"][number]["inputs"]) => ({
  id: "table",
  kind: "postgres.insert",
  service: "load",
  config: {},
  configHash: "h",
  inputs,
});
const plan = (more: Partial<Plan> = {}): Plan => ({ route: "transform>engine", stages: [stage("a")], sinks: [outputs([0])], ...more });
const event = (n: number, value: unknown): RunEvent => ({
  source: { batchId: 7n, seq: 7n, n, generation: 0 },
  json: encode(value),
  timeUnixNanos: 0n,
});
const group = (values: unknown[], more: Partial<Plan> = {}): RunGroup => ({
  pipeline: "p",
  version: 1,
  tenant: "t",
  plan: plan(more),
  events: values.map((v, i) => event(i, v)),
});
const deps = (services: RunServices): RunDeps => ({
  services,
  runId: "r",
  installation: "i",
  monotonicMs: () => 0,
  evaluateWhen: (expression, json) => decode(json).v > Number(expression),
});

describe("executeRun", () => {
  it("gives every event its own verdict", async () => {
    const { services } = createService();
    const result = await executeRun([group([{ v: 1 }, { v: 13 }, { v: 17 }, { v: 19 }])], deps(services));
    expect(result.groups[0]?.events.map((e) => e.kind)).toEqual(["delivered", "filtered", "dead", "pending"]);
    expect(result.groups[0]?.outputs.map((o) => o.event)).toEqual([0]);
    expect(result.fault).toBeUndefined();
  });

  it("kills what would be an empty row of a CSV file, before the file has anything of its event", async () => {
    const { services } = createService();
    const sheet = (columns?: string[]) => ({
      ...outputs(["input"]),
      id: "sheet",
      kind: "file.csv",
      config: columns === undefined ? {} : { columns },
    });
    const run = async (columns?: string[]) => {
      const [result] = (
        await executeRun(
          [group([{ v: 1 }, { v: 1, a: null }, [1], "x"], { stages: [], sinks: [sheet(columns), outputs(["input"])] })],
          deps(services),
        )
      ).groups;
      return { kinds: result?.events.map((e) => e.kind), rows: result?.outputs.map((o) => [o.sink, o.event]), dead: result?.events };
    };
    const { kinds, rows, dead } = await run(["a", "b"]);
    expect(kinds).toEqual(["dead", "delivered", "dead", "dead"]);
    expect(rows?.filter(([sink]) => sink === 0)).toEqual([[0, 1]]);
    expect(dead?.[0]).toMatchObject({
      causes: [
        {
          step: "",
          sink: "sheet",
          code: "sink.rejected",
          message: expect.stringMatching(/^the record has none of the columns a, b: its row would be empty/),
        },
      ],
    });
    expect(dead?.[2]).toMatchObject({ causes: [{ message: expect.stringMatching(/^the record is no object/) }] });
    expect((await run(["value", "v"])).kinds).toEqual(Array(4).fill("delivered"));
    expect((await run()).kinds).toEqual(Array(4).fill("delivered"));
  });

  it("finds one poison in 500 within 20 calls and delivers the rest", async () => {
    const { services, calls } = createService({ poison: 333 });
    const result = await executeRun(
      [group(Array.from({ length: 500 }, (_, v) => ({ v: v === 13 || v === 17 || v === 19 ? 0 : v })))],
      deps(services),
    );
    expect(result.groups[0]?.events.filter((e) => e.kind === "delivered")).toHaveLength(499);
    expect(result.groups[0]?.events[333]).toMatchObject({ kind: "dead", causes: [{ step: "a", code: "request.invalid" }] });
    expect(calls.apply).toBeLessThanOrEqual(20);
  });

  it("holds everything back, and kills nothing, while a service is down", async () => {
    const { services } = createService({ down: true });
    const result = await executeRun([group([{ v: 1 }, { v: 2 }])], deps(services));
    const held = { kind: "pending", sinksDone: [], tries: 0, fault: { code: "service.unavailable" } };
    expect(result.groups[0]?.events).toMatchObject([held, held]);
    expect(result.fault).toMatchObject({ service: "transform", code: "service.unavailable" });
  });

  it("takes a response that misses a record for a breach of contract, never for a filter", async () => {
    const { services } = createService({ skips: true });
    const result = await executeRun([group([{ v: 1 }, { v: 2 }])], deps(services));
    expect(result.fault?.code).toBe("contract.breach");
    expect(result.groups[0]?.events.map((e) => e.kind)).toEqual(["pending", "pending"]);
  });

  it("lets a record bypass a step whose when is false, in order", async () => {
    const { services, calls } = createService();
    const result = await executeRun([group([{ v: 1 }, { v: 13 }, { v: 3 }], { stages: [stage("a", { when: "20" })] })], deps(services));
    expect(result.groups[0]?.outputs.map((o) => decode(o.json).v)).toEqual([1, 13, 3]);
    expect(calls.apply).toBe(0);
  });

  it("writes all outputs of an event with stable keys and counts a refusal as that event's death", async () => {
    const { services, rows } = createService({ refuses: 5 });
    const result = await executeRun([group([{ v: 1, copies: 3 }, { v: 5 }], { sinks: [table([0]), outputs([0])] })], deps(services));
    expect(rows).toEqual(["7.0.0.table.0", "7.0.0.table.1", "7.0.0.table.2"]);
    expect(result.groups[0]?.events).toMatchObject([{ kind: "delivered" }, { kind: "dead", causes: [{ sink: "table", code: "sink.rejected" }] }]);
    expect(result.groups[0]?.outputs.map((o) => [o.event, o.k])).toEqual([
      [0, 0],
      [0, 1],
      [0, 2],
      [1, 0],
    ]);
  });

  it("lets a sink that is down hold back its own events only", async () => {
    const { services } = createService();
    const write: RunServices["write"] = async (_service, request) => ({
      results: request.groups.flatMap((g) =>
        g.records.map(({ n }) =>
          g.pipeline === "down"
            ? {
                n,
                outcome: {
                  $case: "failed" as const,
                  value: { code: "sink.unavailable", message: "refused", retryable: true, retryAfter: undefined },
                },
              }
            : { n, outcome: { $case: "written" as const, value: {} } },
        ),
      ),
    });
    const groups = [group([{ v: 1 }], { sinks: [table([0])] }), { ...group([{ v: 2 }], { sinks: [table([0])] }), pipeline: "down" }];
    const result = await executeRun(groups, deps({ ...services, write }));
    expect(result.groups.map((g) => g.events[0]?.kind)).toEqual(["delivered", "pending"]);
    expect(result.groups[1]?.events[0]).toMatchObject({ tries: 0, fault: { code: "sink.unavailable" } });
  });

  it("does not write again to a sink that an earlier attempt finished", async () => {
    const { services, calls } = createService();
    const again = { ...event(0, { v: 1 }), progress: { sinksDone: ["table"], tries: 0 } };
    const result = await executeRun([{ ...group([], { sinks: [table([0])] }), events: [again] }], deps(services));
    expect(calls.write).toBe(0);
    expect(result.groups[0]?.events).toEqual([{ kind: "delivered" }]);
  });

  it("ends with one result per event and no output of a dead or waiting one, whatever the records", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(fc.record({ v: fc.integer({ min: 0, max: 25 }), copies: fc.integer({ min: 0, max: 4 }) }), { maxLength: 30 }), {
          maxLength: 5,
        }),
        fc.integer({ min: 0, max: 25 }),
        async (groups, poison) => {
          const { services } = createService({ poison });
          const result = await executeRun(
            groups.map((values) => group(values)),
            deps(services),
          );
          groups.forEach((values, g) => {
            const own = result.groups[g];
            expect(own?.events).toHaveLength(values.length);
            values.forEach((value, e) => {
              const kind = own?.events[e]?.kind;
              const expected =
                value.v === poison || value.v === 17
                  ? "dead"
                  : value.v === 19
                    ? "pending"
                    : value.v === 13 || value.copies === 0
                      ? "filtered"
                      : "delivered";
              expect(kind).toBe(expected);
              expect(own?.outputs.filter((o) => o.event === e)).toHaveLength(kind === "delivered" ? value.copies : 0);
            });
          });
        },
      ),
    );
  });
});
