/** From dead letters to delivered, as an integrator and as a person at a terminal: replays, edits, a fix, a backfill, a discard; effects stand once in each sink. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { callCli, readLines } from "@onedata/cli/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Answer, Api, Json } from "../world/api.ts";
import { waitFor } from "../world/wait-for.ts";
import { openWorld, type Profile, removeHome, type World } from "../world/world.ts";

describe.each<Profile>(["solo", "cluster"])("dead letters (%s)", (profile) => {
  const folder = mkdtempSync(join(tmpdir(), "onedata-dead-"));
  let world: World;
  let api: Api;
  let killedHome: string | undefined;
  beforeAll(async () => {
    world = await openWorld(profile);
    api = world.api;
    await world.warehouse`create table bills (id int primary key, total numeric)`;
    await world.warehouse`create table strict_bills (id int primary key, total numeric check (total < 1000))`;
    await world.warehouse`create table log_lines (id int, note text)`;
    await world.warehouse`grant all on bills, strict_bills, log_lines to warehouse`;
  });
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]();
    if (killedHome !== undefined) removeHome(killedHome);
    rmSync(folder, { recursive: true, force: true });
  });

  const write = (name: string, content: string): string => {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  };
  const cli = (args: readonly string[], input = "") => callCli(args, { env: { ONEDATA_HOME: world.home }, input });
  /** Runs it, expects success, and reads what it says to programs. */
  const ask = async (args: readonly string[], input = ""): Promise<ReturnType<typeof readLines>> => {
    const { code, stdout, stderr } = await cli([...args, "--json"], input);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    return readLines(stdout);
  };
  const put = async (name: string, spec: object): Promise<Answer> => {
    const applied = await api.send("PUT", `/v1/pipelines/${name}?force=true`, { name, ...spec });
    expect(applied.status, applied.text).toBe(200);
    return applied;
  };
  const send = async (pipeline: string, payload: object | string): Promise<Json> =>
    (await api.send("POST", `/v1/pipelines/${pipeline}/events`, payload, { prefer: "wait=20" })).json;
  const ended = (job: string): Promise<Answer> =>
    waitFor(
      "ended",
      () => api.get(`/v1/jobs/${job}`),
      ({ json }) => json.doneAt !== undefined,
    );
  const sink = (table: string): object => ({ use: "postgres.upsert", with: { connection: "warehouse", table, key: ["id"] } });
  const map = (total: string): object => ({ steps: [{ id: "total", use: "record.map", with: { set: { total } } }] });

  it("replays over REST what died at one of two sinks: one row in each, the other sink writes nothing", async () => {
    const steps = [{ id: "total", use: "record.map", with: { set: { total: "price * 2" }, unset: ["price"] } }];
    await put("bills", { steps, sinks: [sink("bills"), sink("strict_bills"), { use: "onedata.outputs" }] });
    const dead = await send("bills", { id: 1, price: 600 });
    expect(dead).toMatchObject({ verdict: "dead" });
    expect(await world.warehouse`select id from bills`).toHaveLength(1);
    expect(await world.warehouse`select id from strict_bills`).toHaveLength(0);
    const [letter] = (await api.get("/v1/dead-letters?pipeline=bills")).json.deadLetters;
    expect(letter).toMatchObject({ event: dead.id, state: "open", code: expect.stringContaining("sink.") });
    await world.warehouse`update bills set total = 7 where id = 1`;
    await world.warehouse`alter table strict_bills drop constraint strict_bills_total_check`;
    const started = await api.send("POST", "/v1/dead-letters:replay", { filter: { ids: [letter.id] }, reason: "the check was wrong" });
    expect(started.status, started.text).toBe(202);
    expect(started.json).toMatchObject({ kind: "replay", pipeline: "bills", createdBy: expect.any(String) });
    expect((await ended(started.json.id)).json).toMatchObject({ state: "done", total: 1, delivered: 1, dead: 0 });
    expect(await world.warehouse`select id, total::text from strict_bills`).toEqual([{ id: 1, total: "1200" }]);
    // Untouched: the first sink had it.
    expect(await world.warehouse`select id, total::text from bills`).toEqual([{ id: 1, total: "7" }]);
    expect((await api.get("/v1/pipelines/bills/outputs")).json.outputs).toMatchObject([{ event: dead.id, record: { total: 1200 } }]);
    expect((await api.get(`/v1/dead-letters/${letter.id}`)).json).toMatchObject({ state: "replayed", job: started.json.id });
    expect((await api.get(`/v1/events/${dead.id}`)).json).toMatchObject({
      verdict: "delivered",
      deliveries: [{ job: started.json.id, kind: "replay", verdict: "delivered", state: "done" }],
    });
  });

  it("mends a cause in one flow: preview, version, replay", async () => {
    await put("movies2", { ...map("$number(price) * 2") });
    const records = Array.from({ length: 60 }, (_, id) => JSON.stringify({ id, price: id < 40 ? `${id} EUR` : id })).join("\n");
    expect(await ask(["import", "movies2", write("movies.ndjson", records)])).toMatchObject([{ delivered: 20, dead: 40 }]);
    const [group] = await ask(["dead-letters", "groups", "movies2"]);
    expect(group).toMatchObject({ count: 40, pipeline: "movies2" });
    const fingerprint = String(group?.["fingerprint"]);
    const spec = (total: string): string =>
      write("new.yaml", `name: movies2\nsteps:\n  - { id: total, use: record.map, with: { set: { total: "${total}" } } }\n`);
    const useless = await cli(["dead-letters", "fix", fingerprint, "--spec", spec("$number(price) * 3"), "--yes"]);
    expect(useless).toMatchObject({ code: 1, stderr: expect.stringContaining("saves none of the 40") });
    const good = spec("$number($replace($string(price), ' EUR', '')) * 2");
    const shown = await cli(["dead-letters", "fix", fingerprint, "--spec", good, "--dry-run"]);
    expect(shown.stdout).toMatch(
      /^40 dead letters of movies2 at total .*\n {2}would be delivered +40\n {2}would be filtered +0\n {2}would die again +0\n/,
    );
    expect(shown.stdout).toMatch(/- \{"id":\d+,"price":"\d+ EUR"\}\n {4}\+ \{"id":\d+,"price":"\d+ EUR","total":\d+\}/);
    expect((await api.get("/v1/pipelines/movies2")).json.activeVersion).toBe(1);
    expect(await cli(["dead-letters", "fix", fingerprint, "--spec", good])).toMatchObject({ code: 2, stderr: expect.stringContaining("--yes") });
    const fixed = await cli(["dead-letters", "fix", fingerprint, "--spec", good, "--yes"]);
    expect(fixed, fixed.stderr).toMatchObject({ code: 0, stdout: expect.stringMatching(/job_\w+ done {2}40 of 40 delivered\n$/) });
    expect(fixed.stderr).toContain("movies2 version 2 is active");
    expect((await api.get("/v1/dead-letters:groups?pipeline=movies2")).json.groups ?? []).toEqual([]);
    expect((await api.get("/v1/pipelines/movies2/outputs?pageSize=100")).json.outputs).toHaveLength(60);
    expect(await ask(["jobs", "list", "movies2"])).toMatchObject([{ kind: "replay", state: "done", delivered: 40 }]);
  });

  it("edits the payload of one event and runs it again; the schema holds for it too", async () => {
    const input = { schema: { type: "object", required: ["id"], properties: { id: { type: "integer" } } } };
    await put("edits", { input, steps: [{ id: "check", use: "record.validate", with: { schema: { properties: { price: { type: "number" } } } } }] });
    const dead = await send("edits", '{"id": 5, "price": "x", "big": 12345678901234567890}');
    const [letter] = await ask(["dead-letters", "list", "edits"]);
    const bad = await cli(["dead-letters", "edit", String(letter?.["id"]), "--payload", "-"], '{"id":"five"}');
    expect(bad).toMatchObject({ code: 1, stderr: expect.stringContaining("capture.schema_mismatch") });
    expect((await api.send("POST", `/v1/events/${dead.id}:replay`, '{"payload":{"id":"five"}}')).json).toMatchObject({
      status: 422,
      errors: [{ pointer: "/id" }],
    });
    const edited = '{"id": 5, "price": 1.50, "big": 12345678901234567890}';
    expect(await ask(["dead-letters", "edit", String(letter?.["id"]), "--payload", "-", "--reason", "typo"], edited)).toMatchObject([
      { state: "done", delivered: 1 },
    ]);
    const outputs = await api.get("/v1/pipelines/edits/outputs");
    expect(outputs.text).toContain("12345678901234567890");
    expect(outputs.json.outputs).toMatchObject([{ event: dead.id, record: { id: 5, price: 1.5 } }]);
    const event = await api.get(`/v1/events/${dead.id}`);
    expect(event.json).toMatchObject({ verdict: "delivered", deliveries: [{ edited: true, generation: 0 }] });
    // What was captured stays what it was.
    expect(event.json.payload).toMatchObject({ price: "x" });
    expect((await cli(["events", dead.id])).stdout).toMatch(/replay +.*delivered version 1 edited job_/);
  });

  it("runs delivered events again as deliveries of their own: one by one, or a time range at a rate", async () => {
    await put("log", {
      steps: [{ id: "a", use: "record.map", with: { set: { note: "'v1'" } } }],
      sinks: [{ use: "postgres.insert", with: { connection: "warehouse", table: "log_lines" } }],
    });
    const first = await send("log", { id: 1 });
    expect(first).toMatchObject({ verdict: "delivered" });
    for (let id = 2; id <= 5; id++) await send("log", { id });
    expect(await cli(["replay", first.id])).toMatchObject({ code: 2, stderr: expect.stringContaining("as another one") });
    expect(await ask(["replay", first.id, "--yes"])).toMatchObject([{ delivered: 1, generation: 1 }]);
    expect(await world.warehouse`select id from log_lines where id = 1`).toHaveLength(2);
    await put("log", {
      steps: [{ id: "a", use: "record.map", with: { set: { note: "'v2'" } } }],
      sinks: [{ use: "postgres.insert", with: { connection: "warehouse", table: "log_lines" } }],
    });
    const dry = await cli(["backfill", "log", "--since", "1h", "--dry-run"]);
    expect(dry.stdout).toMatch(/^dry run: backfill 5 events of log from .*; 5 events\n$/);
    expect(await ask(["backfill", "log", "--since", "1h", "--rate", "100", "--version", "1", "--yes"])).toMatchObject([
      { kind: "backfill", state: "done", total: 5, delivered: 5, generation: 2, version: 1, eventsPerSecond: 100 },
    ]);
    expect(await world.warehouse`select id from log_lines where note = 'v1'`).toHaveLength(11);
    expect((await api.get(`/v1/events/${first.id}`)).json.deliveries).toMatchObject([
      { kind: "replay" },
      { kind: "backfill", generation: 2, version: 1 },
    ]);
  });

  it("gives dead letters up with a reason, and stops a job midway", async () => {
    await put("stops", { ...map("price.x + 1") });
    const records = Array.from({ length: 300 }, (_, id) => JSON.stringify({ id, price: { x: "no number" } })).join("\n");
    expect(await ask(["import", "stops", write("stops.ndjson", records)])).toMatchObject([{ dead: 300 }]);
    const [job] = await ask(["dead-letters", "replay", "stops", "--rate", "20", "--no-wait"]);
    const id = String(job?.["id"]);
    await waitFor(
      "begun",
      () => api.get(`/v1/jobs/${id}`),
      ({ json }) => json.dead > 0,
    );
    expect((await cli(["dead-letters", "replay", "stops", "--no-wait"])).code).toBe(0);
    await ask(["jobs", "cancel", id]);
    const cancelled = (await ended(id)).json;
    expect(cancelled).toMatchObject({ state: "cancelled", total: 300 });
    expect(cancelled.queued).toBeLessThan(300);
    expect(cancelled.queued).toBe(cancelled.dead);
    const open = (): Promise<Json> => api.get("/v1/dead-letters:groups?pipeline=stops").then(({ json }) => json.groups?.[0]?.count);
    // What died again stands as a new letter; all are open, once.
    await waitFor("open", open, (count) => count === 300);
    expect(await cli(["dead-letters", "discard", "stops", "--reason", "test data"])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("300 dead letters"),
    });
    expect(await ask(["dead-letters", "discard", "stops", "--reason", "test data", "--yes"])).toMatchObject([
      { kind: "discard", state: "done", total: 300, queued: 300 },
    ]);
    expect(await open()).toBeUndefined();
    const [letter] = await ask(["dead-letters", "list", "stops", "--state", "discarded", "--limit", "1"]);
    expect(letter).toMatchObject({ state: "discarded", reason: "test data" });
    const watched = await cli(["jobs", "watch", id, "--json"]);
    expect(readLines(watched.stdout)).toMatchObject([{ id, state: "cancelled" }]);
  });

  // The processes of a cluster are killed by `npm run e2e -- crash`.
  it.runIf(profile === "solo")(
    "goes on with a job after kill -9 in the middle of it: every event once",
    async () => {
      await put("again", map("price * 2"));
      const records = Array.from({ length: 4_000 }, (_, id) => JSON.stringify({ id, price: 1 })).join("\n");
      expect(await ask(["import", "again", write("again.ndjson", records)])).toMatchObject([{ delivered: 4_000 }]);
      const [job] = await ask(["backfill", "again", "--since", "1h", "--yes", "--no-wait"]);
      const id = String(job?.["id"]);
      await waitFor(
        "begun",
        () => api.get(`/v1/jobs/${id}`),
        ({ json }) => json.queued > 0,
      );
      const { home } = world;
      await world.kill();
      world = await openWorld("solo", { home });
      killedHome = home;
      api = world.api;
      expect((await ended(id)).json).toMatchObject({ state: "done", total: 4_000, queued: 4_000, delivered: 4_000, dead: 0, skipped: 0 });
      const [outputs] = await world.platform<{ n: number }[]>`
      select sum(cardinality(o.ordinals))::int as n from onedata.outputs o join onedata.batches b on b.id = o.batch_id join onedata.pipelines p on p.id = b.pipeline_id
       where p.name = 'again' and b.kind = 'backfill'`;
      expect(outputs).toEqual({ n: 4_000 });
    },
    120_000,
  );
});
