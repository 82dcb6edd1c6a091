/** Groups of two tenants in one call; the connection of one of them cannot be used. */
import { describe, expect, it } from "vitest";
import { OneDataError } from "../errors/onedata-error.ts";
import { runInLab } from "../lab/lab.ts";
import type { Plan } from "../plan/plan.ts";
import { executeRun } from "./execute-run.ts";
import type { RunDeps, RunEvent, RunGroup, RunServices } from "./run.ts";

type Payload = { readonly v: number };
const encode = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
const decode = (bytes: Uint8Array): Payload => JSON.parse(new TextDecoder().decode(bytes));

const plain = { id: "clean", index: 0, operation: "record.map", config: {}, configHash: "h" };
const lookup = { id: "country", index: 1, operation: "enrich.lookup", config: {}, configHash: "h", connection: "warehouse" };
const stages: Plan["stages"] = [
  { service: "transform", steps: [plain, lookup], inputs: ["input"] },
  { service: "transform", steps: [{ ...plain, id: "after", index: 2 }], inputs: [0] },
];
const sink = { id: "out", kind: "x", service: "engine", config: {}, configHash: "h", inputs: [1] };

function group(pipeline: string, events: readonly (Payload & { readonly key?: string; readonly tries?: number })[]): RunGroup {
  return {
    pipeline,
    version: 1,
    tenant: pipeline,
    plan: { route: "transform,transform>engine", stages, sinks: [sink] },
    events: events.map(
      ({ key, tries, ...value }, n): RunEvent => ({
        source: { batchId: 7n, seq: 7n, n, generation: 0 },
        json: encode(value),
        timeUnixNanos: 0n,
        ...(key === undefined ? {} : { orderingKey: key }),
        ...(tries === undefined ? {} : { progress: { sinksDone: [], tries } }),
      }),
    ),
  };
}

/** Answers as the transform service does whose lookups of the pipeline `down` find no database. */
function createServices(isHeld: (pipeline: string, value: number) => boolean = (pipeline) => pipeline === "down") {
  const calls: string[][] = [];
  const services: RunServices = {
    async apply(_service, { groups }) {
      calls.push(groups.map(({ pipeline }) => pipeline));
      return {
        results: groups.flatMap(({ pipeline, steps, records }) =>
          records.map(({ n, json }) =>
            steps.length > 1 && isHeld(pipeline, decode(json).v)
              ? {
                  n,
                  outcome: {
                    $case: "failed" as const,
                    value: {
                      step: 1,
                      code: "connection.unavailable",
                      message: "10.0.0.7:5432/shop: refused",
                      retryable: true,
                      retryAfter: undefined,
                      json: new Uint8Array(),
                    },
                  },
                }
              : { n, outcome: { $case: "outputs" as const, value: { json: [json] } } },
          ),
        ),
      };
    },
    write: () => Promise.reject(new Error("nothing is written here")),
    worksForOthers: () => true,
  };
  return { services, calls };
}

const connection = { name: "warehouse", kind: "postgres", configJson: new Uint8Array() };
const deps = (services: RunServices): RunDeps => ({
  services,
  runId: "r",
  installation: "i",
  monotonicMs: () => 0,
  evaluateWhen: () => true,
  connection: () => Promise.resolve(connection),
});
const HELD = "service transform (connection warehouse of down): 10.0.0.7:5432/shop: refused";

describe("a connection that cannot be used", () => {
  it("holds back the events of its own group, names itself, and costs no tries", async () => {
    const { services, calls } = createServices();
    const result = await executeRun([group("up", [{ v: 1 }]), group("down", [{ v: 2 }, { v: 3, tries: 4 }])], deps(services));
    expect(calls).toEqual([["up", "down"], ["up"]]);
    expect(result.groups[0]?.events).toEqual([{ kind: "delivered" }]);
    expect(result.groups[0]?.outputs).toHaveLength(1);
    expect(result.groups[1]?.events).toMatchObject([
      { kind: "pending", tries: 0, retry: undefined, fault: { effect: "block", code: "connection.unavailable", message: HELD } },
      { kind: "pending", tries: 4, retry: undefined, fault: { message: HELD } },
    ]);
    expect(result.groups[1]?.outputs).toEqual([]);
  });

  it("lets no follower of a held key overtake, and holds no other key", async () => {
    const { services } = createServices((_pipeline, value) => value === 2);
    const events = [
      { v: 1, key: "a" },
      { v: 2, key: "a" },
      { v: 3, key: "b" },
      { v: 4, key: "a" },
    ];
    const result = await executeRun([group("down", events)], deps(services));
    expect(result.groups[0]?.events).toMatchObject([
      { kind: "delivered" },
      { kind: "pending", fault: { effect: "block" } },
      { kind: "delivered" },
      { kind: "pending", fault: undefined, retry: undefined, tries: 0 },
    ]);
    expect(result.groups[0]?.outputs.map(({ event }) => event)).toEqual([0, 2]);
  });

  it("that its tenant does not have is not sent, and does not keep the others' call from being sent", async () => {
    const { services, calls } = createServices(() => false);
    const read: NonNullable<RunDeps["connection"]> = (tenant, name) =>
      tenant === "down" ? Promise.reject(new OneDataError("connection.not_found", `no connection "${name}"`)) : Promise.resolve(connection);
    const result = await executeRun([group("down", [{ v: 2 }]), group("up", [{ v: 1 }])], { ...deps(services), connection: read });
    expect(calls).toEqual([["up"], ["up"]]);
    expect(result.groups.map(({ events }) => events[0])).toMatchObject([
      {
        kind: "pending",
        tries: 0,
        fault: { effect: "block", message: 'service transform (connection warehouse of down): no connection "warehouse"' },
      },
      { kind: "delivered" },
    ]);
  });

  it("ends a trial with an error that names it, instead of a record without a verdict", async () => {
    const { services } = createServices();
    const { pipeline, version, tenant, plan } = group("down", []);
    const trial = runInLab({ pipeline, version, tenant, plan }, ['{"v":1}'], 0, {
      ...deps(services),
      apply: (service, request) => services.apply(service, request),
      parse: JSON.parse,
      stringify: JSON.stringify,
    });
    await expect(trial).rejects.toMatchObject({ code: "connection.unavailable", message: HELD });
  });
});
