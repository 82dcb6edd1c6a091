import { OneDataError } from "@onedata/core";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type ControlWorld, openControlWorld } from "../control-world.ts";

const YAML = "application/yaml";

const spec = (name: string, more = ""): string => `
name: ${name}
description: totals of orders
steps:
  - { id: clean, use: record.map, with: { set: { total: "price * quantity" } } }
${more}`;

const problemOf = async (call: Promise<unknown>): Promise<OneDataError> => {
  try {
    await call;
  } catch (error) {
    return OneDataError.from(error);
  }
  throw new Error("the call succeeded");
};

describe("PipelineService", () => {
  let world: ControlWorld;
  beforeAll(async () => {
    world = await openControlWorld();
  });
  afterAll(() => world[Symbol.asyncDispose]());
  beforeEach(() => {
    world.load.up = true;
    world.transform.up = true;
  });
  const apply = (pipeline: string, document: string, more: object = {}) =>
    world.pipelines.applyPipeline({ pipeline, document, mediaType: YAML, ...more }, world.ana);

  it("stores, activates and shows a spec", async () => {
    const applied = await apply("orders", spec("orders"));
    expect(applied).toMatchObject({
      version: 1,
      created: true,
      dryRun: false,
      diff: [],
      pipeline: { name: "orders", state: "running", activeVersion: 1, description: "totals of orders", sinks: ["onedata.outputs"] },
    });
    const [lane] = await world.store.sql`select count(*)::int as lanes, min(route) as route from onedata.lanes`;
    expect(lane).toEqual({ lanes: 2, route: "transform>engine" });
    expect(await world.pipelines.getPipeline({ pipeline: "orders" }, world.ana)).toEqual(applied.pipeline);
  });

  it("makes no new version of the same spec, also when it is written differently", async () => {
    await apply("same", spec("same"));
    const json = JSON.stringify({
      name: "same",
      steps: [{ with: { set: { total: "price * quantity" } }, use: "record.map", id: "clean" }],
      description: "totals of orders",
    });
    expect(await apply("same", json, { mediaType: "application/json" })).toMatchObject({ version: 1, created: false, diff: [] });
    expect((await world.pipelines.listVersions({ pipeline: "same" }, world.ana)).versions).toHaveLength(1);
  });

  it("answers what changed against the active version, and rolls back in one call", async () => {
    await apply("diffed", spec("diffed"));
    const second = await apply("diffed", spec("diffed", `  - { id: big, use: record.filter, with: { where: "total > 10" } }`));
    expect(second).toMatchObject({ version: 2, created: true, diff: [{ op: "add", pointer: "/steps/1", before: "" }] });
    const back = await world.pipelines.activateVersion({ pipeline: "diffed", version: 1 }, world.ana);
    expect(back.activeVersion).toBe(1);
    expect(back.etag).not.toBe(second.pipeline?.etag);
    expect(await apply("diffed", spec("diffed", `  - { id: big, use: record.filter, with: { where: "total > 10" } }`))).toMatchObject({
      version: 2,
      created: false,
      pipeline: { activeVersion: 2 },
    });
    expect(await problemOf(world.pipelines.activateVersion({ pipeline: "diffed", version: 9 }, world.ana))).toMatchObject({
      code: "version.not_found",
    });
  });

  it("names every problem with its pointer and line", async () => {
    const problem = await problemOf(
      apply(
        "bad",
        "name: other\nsteps:\n  - id: a\n    use: record.mpa\n  - id: b\n    use: record.map\n    with: { set: { x: 'price *' } }\n    needs: [zz]\nsinks:\n  - { use: postgres.upsert, with: { table: orders, connection: nowhere } }\n",
      ),
    );
    expect(problem.code).toBe("pipeline.invalid");
    const found = problem.violations.map((v) => [v.pointer, v.code, v.detail.split(":")[0]]);
    expect(found).toContainEqual(["/name", "spec.name", "line 1"]);
    expect(found).toContainEqual(["/steps/0/use", "spec.unknown_operation", "line 4"]);
    expect(found).toContainEqual(["/steps/1/with/set/x", "jsonata", "line 7"]);
    expect(found).toContainEqual(["/steps/1/needs/0", "spec.unknown_step", "line 8"]);
    expect(found).toContainEqual(["/sinks/0/with/connection", "connection.not_found", "line 10"]);
    expect(problem.violations.find((v) => v.pointer === "/steps/0/use")?.detail).toContain('did you mean "record.map"?');
    expect(await problemOf(world.pipelines.getPipeline({ pipeline: "bad" }, world.ana))).toMatchObject({ code: "pipeline.not_found" });
  });

  it("warns of a lookup table that is not there yet", async () => {
    const document = "name: looks\nsteps:\n  - { id: a, use: enrich.lookup, with: { table: nowhere, on: code, take: [name] } }\n";
    expect((await apply("looks", document)).warnings).toMatchObject([{ pointer: "/steps/0/with/table", code: "lookup.not_found", line: 3 }]);
  });

  it("lets the service check what a lookup reads from a connection; warnings stay warnings", async () => {
    const secrets = { password: "s3cret" };
    const config = { host: "db.example.com", database: "d", user: "u" };
    await world.connections.putConnection({ connection: "shop", kind: "postgres", config, secrets }, world.ana);
    await world.connections.putConnection({ connection: "hook", kind: "http", config: { baseUrl: "https://example.com" } }, world.ana);
    const document = (connection: string, table: string) =>
      `name: reads\nsteps:\n  - id: a\n    use: enrich.lookup\n    with: { connection: ${connection}, table: ${table}, on: code, take: [name] }\n`;
    const at = "/steps/0/with";
    expect((await apply("reads", document("shop", "countries"))).warnings).toMatchObject([
      { pointer: `${at}/column`, code: "lookup.no_index", line: 5 },
    ]);
    const refused = async (connection: string, table: string, who = world.ana) => {
      const call = world.pipelines.applyPipeline({ pipeline: "reads", document: document(connection, table), mediaType: YAML }, who);
      return (await problemOf(call)).violations.map(({ pointer, code }) => `${pointer} ${code}`);
    };
    expect(await refused("shop", "planets")).toEqual([`${at}/table config.invalid`]);
    expect(await refused("hook", "countries")).toEqual([`${at}/connection connection.unavailable`]);
    expect(await refused("nowhere", "countries")).toEqual([`${at}/connection connection.not_found`]);
    expect(await refused("shop", "countries", world.bo)).toEqual([`${at}/connection connection.not_found`]);
    world.transform.up = false;
    expect((await apply("reads", document("shop", "planets"), { dryRun: true })).warnings).toMatchObject([
      { pointer: "/steps/0", code: "step.unchecked" },
    ]);
  });

  it("refuses unknown members, cycles, duplicate names and wrong schemas", async () => {
    const cases: [string, string, string][] = [
      ["name: p\nstepz: []\n", "/stepz", "spec.unknown_member"],
      ["name: p\nname: q\n", "/name", "spec.duplicate_member"],
      [
        "name: p\nsteps:\n  - { id: a, use: record.map, needs: [b], with: { set: { x: '1' } } }\n  - { id: b, use: record.map, needs: [a], with: { set: { x: '1' } } }\n",
        "/steps/0/needs",
        "spec.cycle",
      ],
      ["name: p\ninput: { ordering: 'a +' }\n", "/input/ordering", "expression.invalid"],
      ["name: p\nsteps: [\n", "", "spec.malformed"],
      ["name: ${var.nothing}\n", "/name", "spec.unknown_variable"],
    ];
    for (const [document, pointer, code] of cases) {
      const problem = await problemOf(apply("p", document));
      expect(
        problem.violations.map((v) => [v.pointer, v.code]),
        document,
      ).toContainEqual([pointer, code]);
    }
    expect(await problemOf(apply("p", '{"name": "p",}', { mediaType: "application/json" }))).toMatchObject({ code: "pipeline.invalid" });
  });

  it("puts the tenant's variables in, and makes a new version when their values change", async () => {
    await world.tenants.setVariables({ variables: { factor: "2" } }, world.ana);
    const document = "name: vars\nsteps:\n  - { id: a, use: record.map, with: { set: { x: 'price * ${var.factor}' } } }\n";
    await apply("vars", document);
    await world.tenants.setVariables({ variables: { factor: "3" } }, world.ana);
    const again = await apply("vars", document);
    expect(again).toMatchObject({
      version: 2,
      created: true,
      diff: [{ op: "replace", pointer: "/steps/0/with/set/x", before: '"price * 2"', after: '"price * 3"' }],
    });
  });

  it("checks sinks with the connection's secrets, and accepts the spec with a warning when the load service is down", async () => {
    await world.connections.putConnection(
      { connection: "warehouse", kind: "postgres", config: { host: "db", database: "d", user: "u" }, secrets: { password: "s3cret" } },
      world.ana,
    );
    const sink = (table: string): string => `sinks:\n  - { use: postgres.upsert, with: { connection: warehouse, table: ${table}, key: [id] } }`;
    expect(await problemOf(apply("sunk", spec("sunk", sink("nothing"))))).toMatchObject({
      violations: [{ pointer: "/sinks/0/with/table", code: "sink.table_missing" }],
    });
    expect((await apply("sunk", spec("sunk", sink("orders")))).warnings).toEqual([]);
    expect(world.load.secretsSeen.at(-1)).toBe('{"host": "db", "user": "u", "database": "d","password":"s3cret"}');
    world.load.up = false;
    expect((await apply("sunk", spec("sunk", sink("elsewhere")))).warnings).toMatchObject([{ pointer: "/sinks/0", code: "sink.unchecked" }]);
  });

  it("refuses a secret header in the spec, and stores none of it", async () => {
    const sink = "sinks:\n  - { use: http.post, with: { url: 'https://example.com', headers: { Authorization: 'Bearer TOPSECRET' } } }";
    const problem = await problemOf(apply("leaky", spec("leaky", sink)));
    expect(problem).toMatchObject({
      violations: expect.arrayContaining([expect.objectContaining({ pointer: "/sinks/0/with/headers/Authorization", code: "spec.secret_in_open" })]),
    });
    expect(JSON.stringify(problem)).not.toContain("TOPSECRET");
  });

  it("runs the spec's tests before it stores a version", async () => {
    const document = (total: number): string =>
      spec("tested", `tests:\n  - { name: totals, given: [{ price: 2, quantity: 3 }], expect: [{ price: 2, quantity: 3, total: ${total} }] }`);
    const failed = await problemOf(apply("tested", document(5)));
    expect(failed).toMatchObject({ code: "pipeline.tests_failed", violations: [{ pointer: "/tests/0", code: "spec.test_failed" }] });
    expect(failed.violations[0]?.detail).toContain('got {"price":2,"quantity":3,"total":6}');
    world.transform.up = false;
    expect(await problemOf(apply("tested", document(6)))).toMatchObject({
      code: "service.unavailable",
      message: expect.stringContaining("the spec's tests cannot be run now"),
    });
    expect(await problemOf(world.pipelines.getPipeline({ pipeline: "tested" }, world.ana))).toMatchObject({ code: "pipeline.not_found" });
    world.transform.up = true;
    expect((await apply("tested", document(6))).tests).toMatchObject([{ name: "totals", passed: true }]);
    expect(await world.lab.testPipeline({ pipeline: "tested" }, world.ana)).toMatchObject({ passed: true });
  });

  it("previews a spec over records, step by step, and warns of a bare word", async () => {
    const document =
      'name: seen\nsteps:\n  - { id: a, use: record.map, with: { set: { land: "NO" } } }\n  - { id: b, use: record.filter, with: { where: "v > 1" } }\n';
    const { records } = await world.lab.previewPipeline({ pipeline: "seen", document, records: ['{"v":2,"NO":1}', '{"v":1}'] }, world.ana);
    expect(records).toMatchObject([
      {
        verdict: "delivered",
        steps: [
          { step: "a", outcome: "outputs" },
          { step: "b", outcome: "outputs" },
        ],
        outputs: [{ sink: "outputs", record: '{"v":2,"NO":1,"land":1}' }],
      },
      { verdict: "filtered", steps: [{ step: "a" }, { step: "b", outcome: "filtered" }], outputs: [] },
    ]);
    expect((await apply("seen", document)).warnings).toMatchObject([{ pointer: "/steps/0/with/set/land", code: "expression.bare_word", line: 3 }]);
  });

  it("stores nothing in a dry run but answers what would come", async () => {
    expect(await apply("rehearsed", spec("rehearsed"), { dryRun: true })).toMatchObject({ dryRun: true, version: 1, created: true });
    expect(await problemOf(world.pipelines.getPipeline({ pipeline: "rehearsed" }, world.ana))).toMatchObject({ code: "pipeline.not_found" });
  });

  it("applies only over the etag it was told", async () => {
    const first = await apply("etags", spec("etags"));
    const other = spec("etags", `  - { id: b, use: record.filter, with: { where: "total > 1" } }`);
    expect(await problemOf(apply("etags", other, { ifMatch: "0123456789abcdef" }))).toMatchObject({ code: "request.precondition_failed" });
    const second = await apply("etags", other, { ifMatch: first.pipeline?.etag ?? "" });
    expect(second.pipeline?.etag).not.toBe(first.pipeline?.etag);
  });

  it("lets one of two applies at once make the version and both succeed", async () => {
    const answers = await Promise.all(Array.from({ length: 6 }, () => apply("raced", spec("raced"))));
    expect(answers.map((answer) => answer.version)).toEqual([1, 1, 1, 1, 1, 1]);
    expect(answers.filter((answer) => answer.created)).toHaveLength(1);
    const different = await Promise.all(
      [1, 2, 3].map((n) => apply("raced", spec("raced", `  - { id: b, use: record.filter, with: { where: "total > ${n}" } }`))),
    );
    expect(different.map((answer) => answer.version).sort((a, b) => a - b)).toEqual([2, 3, 4]);
  });

  it("stores without activating when asked", async () => {
    await apply("staged", spec("staged"));
    const staged = await apply("staged", spec("staged", `  - { id: b, use: record.filter, with: { where: "total > 1" } }`), { activate: false });
    expect(staged).toMatchObject({ version: 2, created: true, pipeline: { activeVersion: 1 } });
  });

  it("makes 16 ordered shards per class with an ordering, and changes it only while nothing waits", async () => {
    await apply("ordered", `${spec("ordered")}\ninput: { ordering: customer }\n`);
    const lanes = await world.store.sql`
      select class, count(*)::int as n, bool_and(ordered) as ordered from onedata.lanes l join onedata.pipelines p on p.id = l.pipeline_id where p.name = 'ordered' group by class order by class`;
    expect([...lanes]).toEqual([
      { class: "bulk", n: 16, ordered: true },
      { class: "live", n: 16, ordered: true },
    ]);
    await world.store
      .sql`insert into onedata.queue (batch_id, seq, lane_id, n, bytes) select 1, 1, min(l.id), 1, 1 from onedata.lanes l join onedata.pipelines p on p.id = l.pipeline_id where p.name = 'ordered'`;
    expect(await problemOf(apply("ordered", spec("ordered")))).toMatchObject({ code: "pipeline.conflict" });
    await world.store.sql`delete from onedata.queue`;
    expect((await apply("ordered", spec("ordered"))).pipeline?.ordering).toBe("");
    // A rollback leaves the ordering alone; only an apply brings it back, under a new number, so that no gateway goes on with the old one.
    expect(await world.pipelines.activateVersion({ pipeline: "ordered", version: 1 }, world.ana)).toMatchObject({ activeVersion: 1, ordering: "" });
    expect(await apply("ordered", `${spec("ordered")}\ninput: { ordering: customer }\n`)).toMatchObject({
      version: 3,
      created: true,
      pipeline: { activeVersion: 3, ordering: "customer" },
    });
    await apply("ordered", spec("ordered"));
    const [still] = await world.store
      .sql`select bool_or(l.ordered) as ordered from onedata.lanes l join onedata.pipelines p on p.id = l.pipeline_id where p.name = 'ordered'`;
    expect(still).toEqual({ ordered: false });
  });

  it("says who paused a pipeline and since when, and lets nobody else claim it", async () => {
    await apply("paused", spec("paused"));
    const paused = await world.pipelines.pausePipeline({ pipeline: "paused", reason: "the warehouse moves" }, world.ana);
    expect(paused).toMatchObject({ state: "paused", reason: expect.stringMatching(/^paused by ana since \d\d:\d\d UTC: the warehouse moves$/) });
    const again = await world.pipelines.pausePipeline(
      { pipeline: "paused", reason: "me too" },
      { identity: { ...world.ana.identity, principal: "eva" } },
    );
    expect(again.reason).toBe(paused.reason);
    expect(await world.pipelines.resumePipeline({ pipeline: "paused" }, world.ana)).toMatchObject({ state: "running", reason: "" });
  });

  it("pages through pipelines and versions", async () => {
    const names: string[] = [];
    for (let pageToken = ""; ; ) {
      const page = await world.pipelines.listPipelines({ pageSize: 3, pageToken }, world.ana);
      expect(page.pipelines.length).toBeLessThanOrEqual(3);
      names.push(...page.pipelines.map((pipeline) => pipeline.name));
      pageToken = page.nextPageToken;
      if (pageToken === "") break;
    }
    expect(names).toEqual([...names].sort());
    expect(names).toContain("orders");
    expect(await problemOf(world.pipelines.listVersions({ pipeline: "orders", pageToken: "nonsense" }, world.ana))).toMatchObject({
      code: "request.invalid",
    });
  });

  it("writes an audit row for every change", async () => {
    await apply("audited", spec("audited"));
    await world.pipelines.pausePipeline({ pipeline: "audited" }, world.ana);
    const { entries } = await world.tenants.listAudit({ pageSize: 2 }, world.ana);
    expect(entries.map(({ who, action, subject }) => [who, action, subject])).toEqual([
      ["ana", "PausePipeline", "pipelines/audited"],
      ["ana", "ApplyPipeline", "pipelines/audited"],
    ]);
  });
});
