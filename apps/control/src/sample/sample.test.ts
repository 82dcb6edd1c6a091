import { OneDataError, type Plan } from "@onedata/core";
import { captureGroup } from "@onedata/store";
import { getPipeline } from "@onedata/store/control";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { asUser, type ControlWorld, openControlWorld } from "../control-world.ts";
import { sampleVersions } from "./sample.ts";

const YAML = "application/yaml";
const steps = (...lines: readonly string[]): string => `steps:\n${lines.map((line) => `  - ${line}\n`).join("")}`;
const total = (expression: string): string => `{ id: total, use: record.map, with: { set: { total: "${expression}" } } }`;

const problemOf = async (call: Promise<unknown>): Promise<OneDataError> => {
  try {
    await call;
  } catch (error) {
    return OneDataError.from(error);
  }
  throw new Error("the call succeeded");
};

describe("the sample of an apply", () => {
  let world: ControlWorld;
  let version = 0;
  beforeAll(async () => {
    world = await openControlWorld();
  });
  afterAll(() => world[Symbol.asyncDispose]());
  beforeEach(() => {
    world.transform.up = true;
  });

  const apply = async (pipeline: string, document: string, more: object = {}, who = world.ana) => {
    const applied = await world.pipelines.applyPipeline({ pipeline, document: `name: ${pipeline}\n${document}`, mediaType: YAML, ...more }, who);
    version = applied.version;
    return applied;
  };
  const capture = async (pipeline: string, payloads: readonly string[]): Promise<void> => {
    const { id } = await getPipeline(world.store.sql, world.ana.identity.tenantId, pipeline);
    const target = { tenantId: world.ana.identity.tenantId, pipelineId: id, version, laneClass: "live" as const, ordered: false };
    await captureGroup(world.store, [{ target, events: payloads.map((payload) => ({ payload })) }]);
  };
  const orders = (count: number): string[] => Array.from({ length: count }, (_, i) => `{"id":${i},"price":2,"quantity":${i}}`);

  it("says what the new version makes of the last 200 events, with the first that differs", async () => {
    expect((await apply("orders", steps(total("price * quantity")))).sample).toBeUndefined();
    await capture("orders", orders(90));
    await capture("orders", orders(90));
    await capture("orders", orders(90));
    const { sample } = await apply("orders", steps(total("price * quantity + (id > 84 ? 1 : 0)")), { dryRun: true });
    expect(sample).toMatchObject({
      same: 185,
      changed: 15,
      dead: 0,
      skipped: 0,
      skippedBecause: "",
      firstDiff: {
        input: '{"id":89,"price":2,"quantity":89}',
        before: '{"id":89,"price":2,"quantity":89,"total":178}',
        after: '{"id":89,"price":2,"quantity":89,"total":179}',
      },
    });
    expect(sample?.firstDiff?.event).toMatch(/^evt_/);
    // The same in other words, and a change that nobody's data feels.
    expect((await apply("orders", `description: again\n${steps(total("price * quantity"))}`)).sample).toBeUndefined();
    expect((await apply("orders", steps(total("quantity * price")))).sample).toMatchObject({ same: 200, changed: 0, firstDiff: undefined });
  });

  it("shows content of events only to those who may read events", async () => {
    await apply("hidden", steps(total("price * quantity")));
    await capture("hidden", ['{"price":2,"quantity":4711}']);
    const writer = { identity: { ...world.ana.identity, scopes: ["pipelines:write"] } };
    const { sample } = await apply("hidden", steps(total("price")), { dryRun: true }, writer);
    expect(sample).toMatchObject({ changed: 1, firstDiff: undefined });
    const problem = await problemOf(
      apply("hidden", steps(`{ id: small, use: record.validate, with: { schema: { properties: { quantity: { maximum: 10 } } } } }`), {}, writer),
    );
    expect(JSON.stringify(problem.toProblem())).not.toContain("4711");
  });

  it("refuses a version that lets events die which live now, unless it is forced; a dry run warns", async () => {
    await apply("deadly", steps(total("price * quantity")));
    await capture("deadly", ['{"price":2,"quantity":3}', '{"price":2,"quantity":30}', '{"price":2}']);
    const strict = steps(`{ id: small, use: record.validate, with: { schema: { properties: { quantity: { maximum: 10 } } } } }`);
    expect(await apply("deadly", strict, { dryRun: true })).toMatchObject({
      sample: { same: 1, changed: 1, dead: 1, firstDiff: { after: expect.stringContaining('"dead":{"step":"small"') } },
      warnings: [{ code: "spec.would_kill" }],
    });
    const problem = await problemOf(apply("deadly", strict));
    expect(problem).toMatchObject({ code: "pipeline.would_kill" });
    expect(problem.message).toContain("1 of the last 3 events");
    expect(problem.toProblem()).toMatchObject({ status: 409 });
    expect(await world.pipelines.getPipeline({ pipeline: "deadly" }, world.ana)).toMatchObject({ activeVersion: 1 });
    expect(await apply("deadly", strict, { activate: false })).toMatchObject({ version: 2, pipeline: { activeVersion: 1 }, sample: { dead: 1 } });
    expect(await apply("deadly", strict, { force: true })).toMatchObject({
      version: 2,
      pipeline: { activeVersion: 2 },
      sample: { dead: 1 },
      warnings: [],
    });
    // What dies already is not held against the next one.
    expect(
      (await apply("deadly", steps(`{ id: smaller, use: record.validate, with: { schema: { properties: { quantity: { maximum: 11 } } } } }`))).sample,
    ).toMatchObject({ dead: 0, same: 3 });
  });

  it("fails no apply for a service that is down, and tries nothing that writes", async () => {
    await apply("away", steps(total("price * quantity")));
    await capture("away", orders(3));
    await world.catalog.listOperations({}, world.ana);
    world.transform.up = false;
    expect(await apply("away", steps(total("price")))).toMatchObject({
      created: true,
      sample: { same: 0, changed: 0, dead: 0, skipped: 3, skippedBecause: expect.stringContaining("down") },
    });
  });

  it("is not for those of another tenant", async () => {
    await apply("shared", steps(total("price")));
    await capture("shared", ['{"secret":4711}']);
    const bo = asUser(world.bo.identity.tenantId, "bo");
    expect((await apply("shared", steps(total("price")), {}, bo)).sample).toBeUndefined();
    expect((await apply("shared", steps(total("price + 1")), {}, bo)).sample).toBeUndefined();
  });

  it("takes five seconds at most, also when a service never answers", async () => {
    await apply("slow", steps(total("price")));
    await capture("slow", orders(3));
    const lab = {
      test: () => Promise.reject(new Error("no")),
      run: () => Promise.reject(new Error("no")),
      runPlan: () => new Promise<never>(() => undefined),
    };
    const plan: Plan = { route: "", stages: [], sinks: [] };
    const request = { pipeline: "slow", before: plan, after: plan, mayReadEvents: true, signal: new AbortController().signal };
    const result = await sampleVersions(
      { sql: world.store.sql, lab, catalogue: { read: async () => new Map() } },
      world.ana.identity.tenantId,
      request,
    );
    expect(result?.sample).toMatchObject({ same: 0, skipped: 3, skippedBecause: "there were 5 seconds for it" });
  });
});
