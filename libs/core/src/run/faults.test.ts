import { describe, expect, it } from "vitest";
import type { ErrorCode } from "../errors/catalogue.ts";
import { OneDataError } from "../errors/onedata-error.ts";
import type { Plan } from "../plan/plan.ts";
import { classifyCallError } from "./call-fault.ts";
import { executeRun } from "./execute-run.ts";
import type { RunDeps, RunEvent, RunGroup, RunServices } from "./run.ts";

type Payload = { readonly v: number };
const encode = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
const decode = (bytes: Uint8Array): Payload => JSON.parse(new TextDecoder().decode(bytes));

const step = { id: "a", index: 0, operation: "record.map", config: {}, configHash: "h" };
const stages: Plan["stages"] = [{ service: "transform", steps: [step], inputs: ["input"] }];
const sink = (id: string, service = "load") => ({ id, kind: "x", service, config: {}, configHash: "h", inputs: [0] });

function group(events: readonly (Payload & { readonly key?: string })[], sinks = [sink("table")], pipeline = "p"): RunGroup {
  return {
    pipeline,
    version: 1,
    tenant: "t",
    plan: { route: "transform>load", stages, sinks },
    events: events.map(
      ({ key, ...value }, n): RunEvent => ({
        source: { batchId: 7n, seq: 7n, n, generation: 0 },
        json: encode(value),
        timeUnixNanos: 0n,
        ...(key === undefined ? {} : { orderingKey: key }),
      }),
    ),
  };
}

/** Computes over what it is sent; `apply` and `write` may throw for what they see, and `later` asks for a retry. */
function createServices(rules: {
  readonly apply?: (values: readonly number[]) => void;
  readonly write?: (values: readonly number[], calls: number) => void;
  readonly later?: number;
  readonly works?: boolean | Promise<boolean>;
}) {
  const written: number[] = [];
  const calls = { apply: 0, write: 0 };
  const services: RunServices = {
    async apply(_service, request) {
      calls.apply++;
      const records = request.groups.flatMap((g) => g.records);
      rules.apply?.(records.map(({ json }) => decode(json).v));
      return {
        results: records.map(({ n, json }) =>
          decode(json).v === rules.later
            ? {
                n,
                outcome: {
                  $case: "failed" as const,
                  value: { step: 0, code: "busy", message: "later", retryable: true, retryAfter: undefined, json: new Uint8Array() },
                },
              }
            : { n, outcome: { $case: "outputs" as const, value: { json: [json] } } },
        ),
      };
    },
    async write(_service, request) {
      calls.write++;
      const records = request.groups.flatMap((g) => g.records);
      rules.write?.(
        records.map(({ json }) => decode(json).v),
        calls.write,
      );
      written.push(...records.map(({ json }) => decode(json).v));
      return { results: records.map(({ n }) => ({ n, outcome: { $case: "written" as const, value: {} } })) };
    },
    worksForOthers: () => rules.works ?? false,
  };
  return { services, calls, written };
}

const deps = (services: RunServices): RunDeps => ({ services, runId: "r", installation: "i", monotonicMs: () => 0, evaluateWhen: () => true });
const range = (count: number): Payload[] => Array.from({ length: count }, (_, v) => ({ v }));

describe("faults of calls", () => {
  it.each<[ErrorCode, string]>([
    ["request.malformed", "data"],
    ["request.invalid", "data"],
    ["request.too_large", "data"],
    ["record.too_large", "data"],
    ["config.invalid", "data"],
    ["expression.failed", "data"],
    ["internal", "ambiguous"],
    ["request.timeout", "ambiguous"],
    ["service.lost", "lost"],
    ["aborted", "released"],
    ["service.unavailable", "service"],
    ["service.failed", "service"],
    ["auth.unauthenticated", "service"],
    ["auth.caller_denied", "service"],
    ["route.not_found", "service"],
    ["route.method_not_allowed", "service"],
    ["capture.quota_exceeded", "service"],
    ["connection.not_found", "service"],
    ["network.address_refused", "service"],
    ["contract.breach", "service"],
    ["sink.unavailable", "service"],
    ["connection.unavailable", "service"],
  ])("%s is %s", (code, expected) => {
    expect(classifyCallError(new OneDataError(code, "x"))).toBe(expected);
  });

  it("parts a refused call by pipeline first: the neighbours of a poisoned one pay a few calls", async () => {
    const { services, calls } = createServices({
      apply: (values) => {
        if (values.includes(333)) throw new OneDataError("request.invalid", "cannot read a record");
      },
    });
    const groups = Array.from({ length: 16 }, (_, i) => group([{ v: i === 5 ? 333 : i }], undefined, `p${i}`));
    const result = await executeRun(groups, deps(services));
    expect(result.groups.map(({ events }) => events[0]?.kind)).toEqual(groups.map((_, i) => (i === 5 ? "dead" : "delivered")));
    expect(calls.apply).toBe(9);
  });

  it("takes a deadline for the data's fault when the service does its own example", async () => {
    const apply = (values: readonly number[]): void => {
      if (values.includes(3)) throw new OneDataError("request.timeout", "too slow");
    };
    const works = createServices({ apply, works: Promise.resolve(true) });
    const judged = await executeRun([group(range(5))], deps(works.services));
    expect(judged.groups[0]?.events.map(({ kind }) => kind)).toEqual(["delivered", "delivered", "delivered", "dead", "delivered"]);
    const fails = createServices({ apply, works: Promise.resolve(false) });
    const held = await executeRun([group(range(5))], deps(fails.services));
    expect(held.groups[0]?.events.every((event) => event.kind === "pending" && event.fault?.effect === "block")).toBe(true);
    expect(fails.calls.apply).toBe(1);
  });

  it("accuses only what was in the lost call", async () => {
    const { services } = createServices({
      apply: (values) => {
        if (values.includes(600)) throw new OneDataError("service.lost", "socket hang up");
      },
    });
    const result = await executeRun([group(range(700))], deps(services));
    const effects = result.groups[0]?.events.map((event) => (event.kind === "pending" ? event.fault?.effect : event.kind));
    expect(new Set(effects?.slice(0, 500))).toEqual(new Set(["release"]));
    expect(new Set(effects?.slice(500))).toEqual(new Set(["crash"]));
  });

  it("accuses nobody when this process gives up", async () => {
    const { services } = createServices({
      apply: () => {
        throw new OneDataError("aborted", "the engine stops");
      },
    });
    const result = await executeRun([group(range(2))], deps(services));
    expect(result.groups[0]?.events).toMatchObject([{ fault: { effect: "release" } }, { fault: { effect: "release" } }]);
  });

  it.each<[ErrorCode, boolean]>([
    ["service.lost", true],
    ["request.timeout", true],
    ["service.unavailable", false],
    ["connection.not_found", false],
  ])("after %s of a write its begun state is %s", async (code, writeBegun) => {
    const { services } = createServices({
      write: () => {
        throw new OneDataError(code, "x");
      },
    });
    const result = await executeRun([group(range(1))], deps(services));
    expect(result.groups[0]?.events).toMatchObject([{ kind: "pending", writeBegun }]);
  });
});

describe("a record that asks to be tried again", () => {
  const at = (retries: number | undefined, progress: RunEvent["progress"]): RunGroup => {
    const own = group([{ v: 1 }]);
    const events = own.events.map((event): RunEvent => ({ ...event, ...(progress === undefined ? {} : { progress }) }));
    const steps = [{ ...step, ...(retries === undefined ? {} : { retries }) }];
    return { ...own, events, plan: { ...own.plan, stages: [{ service: "transform", steps, inputs: ["input"] }] } };
  };
  const run = async (retries: number | undefined, progress?: RunEvent["progress"]) =>
    (await executeRun([at(retries, progress)], deps(createServices({ later: 1 }).services))).groups[0]?.events[0];
  const before = (tries: number, place = "step a"): NonNullable<RunEvent["progress"]> => ({ sinksDone: [], tries, places: { [place]: { tries } } });

  it("dies at once where its step allows no retry", async () => {
    expect(await run(0)).toMatchObject({ kind: "dead", causes: [{ code: "busy", message: "later (tried 1 time)" }] });
  });

  it("dies when its step's limit is reached, whatever other places have counted", async () => {
    expect(await run(2, before(1))).toMatchObject({ kind: "pending", tries: 2, retry: { limit: 3 }, retryAfterMs: 2_000 });
    expect(await run(2, before(2))).toMatchObject({ kind: "dead", causes: [{ message: "later (tried 3 times)" }] });
    expect(await run(2, before(2, "step other"))).toMatchObject({ kind: "pending", places: { "step a": { tries: 1 }, "step other": { tries: 2 } } });
    expect(await run(undefined, before(4))).toMatchObject({ kind: "dead", causes: [{ message: "later (tried 5 times)" }] });
  });

  it("waits a minute at most", async () => {
    expect(await run(100, before(40))).toMatchObject({ kind: "pending", retryAfterMs: 60_000 });
  });

  it("goes on counting what an engine of the release before has counted", async () => {
    expect(await run(4, { sinksDone: [], tries: 3, retry: { at: "step a" } })).toMatchObject({ kind: "pending", tries: 4 });
    expect(await run(4, { sinksDone: [], tries: 3, retry: { at: "step b" } })).toMatchObject({ kind: "pending", places: { "step a": { tries: 1 } } });
  });
});

describe("a connection that cannot be read", () => {
  const connected = { connection: "warehouse" };
  it.each<[string, RunGroup]>([
    ["of a sink", group(range(3), [{ ...sink("table"), ...connected }])],
    [
      "of a step",
      {
        ...group(range(3)),
        plan: { route: "transform>load", stages: [{ ...stages[0], steps: [{ ...step, ...connected }] }], sinks: [sink("table")] } as Plan,
      },
    ],
  ])("%s holds its events and kills none, though the service works for others", async (_what, own) => {
    const { services, written } = createServices({ works: true });
    const lost = (): Promise<never> => Promise.reject(new Error("the database system is in recovery mode"));
    const result = await executeRun([own], { ...deps(services), connection: lost });
    expect(result.groups[0]?.events).toMatchObject(
      range(3).map(() => ({ kind: "pending", writeBegun: false, fault: { effect: "block", code: "store.unavailable" } })),
    );
    expect(written).toEqual([]);
  });
});

describe("where order counts", () => {
  it("holds later events of a key behind one that waits, and no others", async () => {
    const { services, written } = createServices({ later: 1 });
    const events = [
      { v: 0, key: "a" },
      { v: 1, key: "a" },
      { v: 2, key: "b" },
      { v: 3, key: "a" },
    ];
    const result = await executeRun([group(events)], deps(services));
    expect(result.groups[0]?.events).toMatchObject([
      { kind: "delivered" },
      { kind: "pending", tries: 1, retry: { step: "a", code: "busy" } },
      { kind: "delivered" },
      { kind: "pending", tries: 0, fault: undefined, retry: undefined },
    ]);
    expect(written).toEqual([0, 2]);
  });

  it("lets no later write overtake one that failed in an earlier call", async () => {
    const { services, written } = createServices({
      write: (_values, call) => {
        if (call === 2) throw new OneDataError("service.unavailable", "refused");
      },
    });
    const events = Array.from({ length: 1500 }, (_, v) => ({ v, key: "a" }));
    const result = await executeRun([group(events)], deps(services));
    expect(written).toEqual(range(500).map(({ v }) => v));
    expect(result.groups[0]?.events.filter(({ kind }) => kind === "delivered")).toHaveLength(500);
  });

  it("does not let a dead letter hold its key", async () => {
    const { services } = createServices({
      apply: (values) => {
        if (values.includes(0)) throw new OneDataError("request.invalid", "bad");
      },
    });
    const result = await executeRun(
      [
        group(
          [
            { v: 0, key: "a" },
            { v: 1, key: "a" },
          ].map((e) => e),
        ),
      ],
      deps(services),
    );
    expect(result.groups[0]?.events.map(({ kind }) => kind)).toEqual(["dead", "delivered"]);
  });
});
