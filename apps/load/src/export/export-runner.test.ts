/** Files of file sinks against a real Postgres: each output once, whatever dies and whoever else is at work. */
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BatchId, type Clock, formatEventId, type PipelineId, type TenantId } from "@onedata/core";
import { createLogger } from "@onedata/mesh";
import { connect, openExportSession, openStore, type Sql, type Store } from "@onedata/store";
import { removeDrained } from "@onedata/store/control";
import { askErasure, dropDays, eraseTenants, retentionProblems } from "@onedata/store/retention";
import { ageEvent, createTestPipeline, createTestTenant, openTestDatabase, type TestDatabase } from "@onedata/store/testing";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createExportRunner, type ExportRunnerOptions } from "./export-runner.ts";

const DAY_MS = 86_400_000;
let database: TestDatabase;
let store: Store;
let folder: string;
let lines: string[];

beforeAll(async () => {
  database = await openTestDatabase();
  store = openStore(database.url);
});
afterAll(async () => {
  await store[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "onedata-exports-"));
  lines = [];
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const still: Clock = { now: () => 0 };
/** Every look is a minute later: files are finished at once, and there are many. */
const hasty = (): Clock => {
  let minutes = 0;
  return { now: () => ++minutes * 60_000 };
};
const quick: ExportRunnerOptions = { discoverMs: 20, pollMs: 5, mostPollMs: 20, retryMs: 5, mostRetryMs: 40, takeOverMs: 100 };

function start(clock: Clock = still, options: ExportRunnerOptions = {}): { stop(): Promise<void> } {
  const log = createLogger({ name: "test", write: (line) => lines.push(line), pretty: false });
  const controller = new AbortController();
  const running = createExportRunner({ store, folder, log, clock }, { ...quick, ...options }).run(controller.signal);
  return {
    async stop() {
      controller.abort();
      await running;
    },
  };
}

const sinkOf = (id: string, kind: string, config: object) => ({ id, kind, service: "engine", config, configHash: "h", inputs: [] });
const files = (path: string, more: object = {}) => sinkOf("files", "file.ndjson", { path, maxMinutes: 1, ...more });
const table = sinkOf("table", "onedata.outputs", {});
const planOf = (...sinks: object[]) => ({ route: "", stages: [], sinks });

async function pipelineOf(...sinks: object[]): Promise<{ pipelineId: PipelineId; name: string; tenant: string; tenantId: TenantId }> {
  const { pipelineId, tenantId } = await createTestPipeline(store.sql, { name: `p${++made}`, plan: planOf(...sinks) });
  const [row] = await store.sql<{ name: string }[]>`select name from onedata.tenants where id = ${tenantId}`;
  return { pipelineId, name: `p${made}`, tenant: row?.name ?? "", tenantId };
}
let made = 0;

async function addVersion(pipelineId: PipelineId, version: number, ...sinks: object[]): Promise<void> {
  await store.sql`insert into onedata.pipeline_versions (pipeline_id, version, hash, spec, plan, route)
    values (${pipelineId}, ${version}, 'h', '{}', ${JSON.stringify(planOf(...sinks))}::text::json, '')`;
}

/** As a completion writes it. */
async function complete(
  sql: Sql,
  pipelineId: PipelineId,
  { version = 1, place = 0, jsons }: { version?: number; place?: number; jsons: readonly string[] },
) {
  await sql`
    with run as (
      insert into onedata.runs (batch_id, attempt, run_id, version, started_at, outcome)
      values (onedata.next_id(), 1, gen_random_uuid(), ${version}, now(), 'final') returning batch_id)
    insert into onedata.outputs (batch_id, attempt, sink, pipeline_id, ordinals, payloads, bytes)
    select batch_id, 1, ${place}::smallint, ${pipelineId}, ${`{${jsons.map((_, i) => i).join(",")}}`}::int[], ${jsons.join("\u001e")}, ${jsons.join("").length} from run`;
}
const numbers = (from: number, count: number): number[] => Array.from({ length: count }, (_, i) => from + i);
const jsonOf = (i: number): string => `{"i":${i}}`;

async function written(tenant: string, path: string): Promise<{ names: string[]; values: number[] }> {
  const names = (await readdir(join(folder, tenant, path)).catch(() => [])).filter((name) => !name.startsWith(".")).sort();
  const texts = await Promise.all(names.map((name) => readFile(join(folder, tenant, path, name), "utf8")));
  const values = texts
    .join("")
    .split("\n")
    .filter((line) => line !== "");
  return { names, values: values.map((line): number => JSON.parse(line).i) };
}
async function until<T>(what: string, read: () => Promise<T>, holds: (value: T) => boolean): Promise<T> {
  const deadline = performance.now() + 20_000;
  for (;;) {
    const value = await read();
    if (holds(value)) return value;
    if (performance.now() > deadline) throw new Error(`still not: ${what}; last: ${JSON.stringify(value)}\n${lines.slice(-5).join("")}`);
    await new Promise((done) => setTimeout(done, 10));
  }
}
const sorted = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b);

describe("the export runner", () => {
  it("loses nothing when it was away for longer than results are kept: they are held until a file has them", async () => {
    const { pipelineId, name, tenant } = await pipelineOf(files("late"));
    const drop = (days: number) => dropDays(store, { cutoff: new Date(Date.now() - days * DAY_MS) });
    const age = async (days: number): Promise<void> => {
      const rows = await store.sql<
        { batch_id: BatchId }[]
      >`select batch_id from onedata.outputs where batch_id > onedata.id_at(now() - interval '1 day')`;
      for (const { batch_id } of rows) await ageEvent(store.sql, formatEventId({ batchId: batch_id, n: 0 }), days);
    };
    const held = async (): Promise<number> => (await store.sql`select 1 from onedata.outputs where pipeline_id = ${pipelineId}`).length;
    await complete(store.sql, pipelineId, { jsons: [1, 2].map(jsonOf) });
    const first = start(hasty());
    await until(
      "written",
      () => written(tenant, "late"),
      ({ values }) => values.length === 2,
    );
    await first.stop();

    // Nobody writes files, for weeks.
    await complete(store.sql, pipelineId, { jsons: [3].map(jsonOf) });
    await age(20);
    await complete(store.sql, pipelineId, { jsons: [4, 5].map(jsonOf) });
    await age(15);
    expect(await held()).toBe(3);
    expect(await drop(10)).toMatchObject({ state: "done", held: { outputs: 2 } });
    expect(await retentionProblems(store.sql, { max: { eventsDays: 7, deadLettersDays: 30 }, now: new Date() })).toMatchObject([
      { key: "files", detail: expect.stringContaining(`${name}.files`) },
    ]);

    const second = start(hasty());
    await until(
      "written",
      () => written(tenant, "late"),
      ({ values }) => values.length === 5,
    );
    await second.stop();
    expect(sorted((await written(tenant, "late")).values)).toEqual(numbers(1, 5));
    expect(await retentionProblems(store.sql, { max: { eventsDays: 7, deadLettersDays: 30 }, now: new Date() })).toEqual([]);
    await complete(store.sql, pipelineId, { jsons: [6].map(jsonOf) });
    await age(9);
    const third = start(hasty());
    await until(
      "written",
      () => written(tenant, "late"),
      ({ values }) => values.length === 6,
    );
    await third.stop();
    expect(await drop(8)).toMatchObject({ state: "done", held: { outputs: 0 } });
    expect(await held()).toBe(0);
  });

  it("reads nothing while retention has old rows out of sight, and nothing twice or never", async () => {
    const { pipelineId, tenant } = await pipelineOf(files("moving"));
    await complete(store.sql, pipelineId, { jsons: [1].map(jsonOf) });
    await store.sql`insert into onedata.retention_work (kind, upper, cutoff, victims) values ('events', 0, now(), '{}')`;
    const runner = start(hasty());
    try {
      await until(
        "locked",
        () =>
          store.sql`select 1 from pg_locks l join pg_stat_activity a on a.pid = l.pid where l.locktype = 'advisory' and a.application_name = 'onedata-export'`,
        (rows) => rows.length > 0,
      );
      await until(
        "asked",
        () => store.sql<{ query: string }[]>`select query from pg_stat_activity where application_name = 'onedata-export'`,
        (rows) => rows.some(({ query }) => query.includes("old_rows_are_moving")),
      );
      expect((await written(tenant, "moving")).values).toEqual([]);
      await store.sql`delete from onedata.retention_work`;
      await until(
        "written",
        () => written(tenant, "moving"),
        ({ values }) => values.length === 1,
      );
    } finally {
      await store.sql`delete from onedata.retention_work`;
      await runner.stop();
    }
  });

  it("finishes what is there when it stops, and goes on from there", async () => {
    const { pipelineId, name, tenant } = await pipelineOf(table, files("out"), sinkOf("sheet", "file.csv", { path: "sheets/daily" }));
    await complete(store.sql, pipelineId, { place: 0, jsons: [jsonOf(-1)] });
    for (const i of [1, 3]) {
      await complete(store.sql, pipelineId, { place: 1, jsons: [i, i + 1].map(jsonOf) });
      await complete(store.sql, pipelineId, { place: 2, jsons: [i, i + 1].map(jsonOf) });
    }
    await start().stop(); // stopped before it looked: nothing yet, nothing lost
    const first = start();
    await until(
      "a file is begun",
      async () => (await readdir(join(folder, tenant, "out")).catch(() => [])).length,
      (n) => n > 0,
    );
    await first.stop();
    const after = await written(tenant, "out");
    expect(after.values).toEqual([1, 2, 3, 4]);
    expect(after.names).toEqual([
      expect.stringMatching(new RegExp(`^${name}\\.files\\.[0-9a-z]{13}-[0-9a-z]{13}_[0-9a-z]{13}-[0-9a-z]{13}\\.ndjson$`)),
    ]);
    await complete(store.sql, pipelineId, { place: 1, jsons: [jsonOf(5)] });
    const second = start();
    await until(
      "begun",
      () => readdir(join(folder, tenant, "out")),
      (names) => names.some((entry) => entry.endsWith(".part")),
    );
    await second.stop();
    expect((await written(tenant, "out")).values).toEqual([1, 2, 3, 4, 5]);
    const [sheet = ""] = (await readdir(join(folder, tenant, "sheets/daily"))).filter((entry) => entry.endsWith(".csv"));
    expect(await readFile(join(folder, tenant, "sheets/daily", sheet), "utf8")).toBe("i\r\n1\r\n2\r\n3\r\n4\r\n");
  });

  it("takes each result to where its own version says, wherever the sink stands in it", async () => {
    const { pipelineId, tenant } = await pipelineOf(files("a"), table);
    const runner = start(hasty());
    await complete(store.sql, pipelineId, { version: 1, place: 0, jsons: [jsonOf(1)] });
    await until(
      "1",
      () => written(tenant, "a"),
      ({ values }) => values.length === 1,
    );
    // The place of the sink in version 1 is that of another one in version 2; version 3 writes elsewhere.
    await addVersion(pipelineId, 2, table, files("a"));
    await addVersion(pipelineId, 3, files("b"));
    await complete(store.sql, pipelineId, { version: 2, place: 0, jsons: [jsonOf(-1)] });
    await complete(store.sql, pipelineId, { version: 2, place: 1, jsons: [jsonOf(2)] });
    await complete(store.sql, pipelineId, { version: 3, place: 0, jsons: [jsonOf(3)] });
    await complete(store.sql, pipelineId, { version: 1, place: 1, jsons: [jsonOf(-2)] });
    await complete(store.sql, pipelineId, { version: 1, place: 0, jsons: [jsonOf(4)] });
    await until(
      "4",
      () => written(tenant, "a"),
      ({ values }) => values.length === 3,
    );
    await until(
      "3",
      () => written(tenant, "b"),
      ({ values }) => values.length === 1,
    );
    await runner.stop();
    expect([(await written(tenant, "a")).values, (await written(tenant, "b")).values]).toEqual([[1, 2, 4], [3]]);
  });

  it("waits for what an open transaction may still write, and misses none of it", async () => {
    const { pipelineId, tenant } = await pipelineOf(files("out"));
    const runner = start(hasty());
    const other = connect(database.url, { max: 1, applicationName: "slow" });
    await other.begin(async (slow) => {
      await slow`insert into onedata.outputs (batch_id, attempt, sink, pipeline_id, ordinals, payloads, bytes)
        select batch_id, 1, 0::smallint, ${pipelineId}, '{0}'::int[], ${jsonOf(1)}, 7 from (select onedata.next_id() as batch_id) b`;
      await slow`insert into onedata.runs (batch_id, attempt, run_id, version, started_at, outcome)
        select batch_id, 1, gen_random_uuid(), 1, now(), 'final' from onedata.outputs where pipeline_id = ${pipelineId} and xid = pg_current_xact_id()`;
      for (const i of [2, 3, 4]) await complete(store.sql, pipelineId, { jsons: [jsonOf(i)] });
    });
    await other.end();
    await until(
      "all four",
      () => written(tenant, "out"),
      ({ values }) => values.length === 4,
    );
    await runner.stop();
    expect(sorted((await written(tenant, "out")).values)).toEqual([1, 2, 3, 4]);
  });

  it("doubles and misses nothing with two at once whose connections are cut and which die and start again", async () => {
    const { pipelineId, tenant } = await pipelineOf(files("out"));
    const total = 3_000;
    let next = 0;
    const writing = (async () => {
      while (next < total) {
        await complete(store.sql, pipelineId, { jsons: numbers(next, 20).map(jsonOf) });
        next += 20;
      }
    })();
    // Without time to drain a runner leaves its file as a crash does: begun, and not finished.
    const slots = [start(hasty(), { drainMs: 0 }), start(hasty(), { drainMs: 0 })];
    for (let round = 0; next < total; round++) {
      const at = Math.min(total, next + 300);
      await until(
        "some more",
        () => Promise.resolve(next),
        (n) => n >= at,
      );
      await store.sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'onedata-export' and datname = current_database()`;
      const one = round % 2;
      await slots[one]?.stop();
      slots[one] = start(round % 3 === 0 ? still : hasty(), { drainMs: 0 });
    }
    await writing;
    for (const slot of slots) await slot.stop();
    const final = start(hasty());
    await until(
      "all",
      () => written(tenant, "out"),
      ({ values }) => values.length >= total,
    );
    await final.stop();
    const { names, values } = await written(tenant, "out");
    expect(names.length).toBeGreaterThan(5);
    expect(values).toEqual(numbers(0, total));
  });

  it("keeps trying while the folder cannot be written, and says so", async () => {
    const { pipelineId, tenant } = await pipelineOf(files("out"));
    await complete(store.sql, pipelineId, { jsons: [jsonOf(1)] });
    await writeFile(join(folder, tenant), "in the way");
    const runner = start(hasty());
    await until(
      "tried twice",
      () => Promise.resolve(lines.filter((line) => line.includes("could not write files") && line.includes(tenant))),
      (said) => said.length >= 2,
    );
    await rm(join(folder, tenant));
    await until(
      "written",
      () => written(tenant, "out"),
      ({ values }) => values.length === 1,
    );
    await until(
      "said",
      () => Promise.resolve(lines),
      (said) => said.some((line) => line.includes("files are written again")),
    );
    await runner.stop();
  });

  it("lets no pipeline be removed while no exporter runs to write its results", async () => {
    const { pipelineId, name, tenantId } = await pipelineOf(files("nobody"));
    await complete(store.sql, pipelineId, { jsons: [jsonOf(1)] });
    await store.sql`update onedata.pipelines set state = 'deleting', state_changed_at = now() - interval '1 hour' where id = ${pipelineId}`;
    expect(await removeDrained(store.sql, tenantId, { name, graceSeconds: 0 })).toBe(false);
  });

  it("goes over to a changed config, and finishes the files of a deleted pipeline before it is removed", async () => {
    const { pipelineId, name, tenant, tenantId } = await pipelineOf(files("out"));
    const runner = start();
    await complete(store.sql, pipelineId, { jsons: [jsonOf(1)] });
    await until(
      "begun",
      () => readdir(join(folder, tenant, "out")).catch((): string[] => []),
      (names) => names.some((entry) => entry.endsWith(".part")),
    );
    await addVersion(pipelineId, 2, sinkOf("files", "file.csv", { path: "out" }));
    await store.sql`update onedata.pipelines set active_version = 2 where id = ${pipelineId}`;
    await until(
      "the first is finished",
      () => written(tenant, "out"),
      ({ values }) => values.length === 1,
    );
    await complete(store.sql, pipelineId, { version: 2, jsons: [jsonOf(2)] });
    await until(
      "the second is begun",
      () => readdir(join(folder, tenant, "out")),
      (names) => names.some((entry) => entry.endsWith(".part")),
    );
    await complete(store.sql, pipelineId, { version: 2, jsons: [jsonOf(3)] });
    await store.sql`update onedata.pipelines set state = 'deleting', state_changed_at = now() - interval '1 hour' where id = ${pipelineId}`;
    await until(
      "removed",
      () => removeDrained(store.sql, tenantId, { name, graceSeconds: 0 }),
      (removed) => removed,
    );
    await runner.stop();
    // One file or two: somebody else's open transaction may hold the last result back for a moment.
    const sheets = (await readdir(join(folder, tenant, "out"))).filter((entry) => entry.endsWith(".csv")).sort();
    const texts = await Promise.all(sheets.map((sheet) => readFile(join(folder, tenant, "out", sheet), "utf8")));
    expect(texts.map((text) => text.replace(/^i\r\n/, "")).join("")).toBe("2\r\n3\r\n");
  });
});

describe("erasing a tenant", () => {
  const now = { graceSeconds: 0 };
  const isThere = (path: string): Promise<boolean> =>
    stat(path).then(
      () => true,
      () => false,
    );
  async function askToErase(tenant: string): Promise<() => ReturnType<typeof askErasure>> {
    const operator = await createTestTenant(store.sql, `operators of ${tenant}`);
    const ask = () => askErasure(store.sql, operator, { name: "operator" }, tenant);
    await ask();
    return ask;
  }
  const eraseAnd = (ask: () => ReturnType<typeof askErasure>) => async () => {
    await eraseTenants(store.sql, now);
    return ask();
  };
  /** Until all is gone but the files. */
  const untilFilesAreDue = (ask: () => ReturnType<typeof askErasure>) =>
    until("its rows are gone", eraseAnd(ask), ({ waitingFor }) => waitingFor.includes("load process"));

  it("removes its folder, whatever is in it, and nothing that a link leads to; a new tenant of that name finds it empty", async () => {
    const { pipelineId, tenant } = await pipelineOf(files("out/ship"));
    const other = await pipelineOf(files("out"));
    await complete(store.sql, pipelineId, { jsons: ['{"secret":"4711"}'] });
    await complete(store.sql, other.pipelineId, { jsons: [jsonOf(1)] });
    const running = start(hasty());
    await until(
      "written",
      () => written(tenant, "out/ship"),
      ({ names }) => names.length > 0,
    );
    await until(
      "written",
      () => written(other.tenant, "out"),
      ({ names }) => names.length > 0,
    );
    const outside = join(folder, "outside");
    await mkdir(outside);
    await writeFile(join(outside, "kept"), "kept");
    await symlink(outside, join(folder, tenant, "link"));
    await writeFile(join(folder, tenant, "out/ship/.left.part"), '{"secret":"4711"}');

    const ask = await askToErase(tenant);
    await until("erased", eraseAnd(ask), ({ state }) => state === "erased");
    expect(await isThere(join(folder, tenant))).toBe(false);
    expect(await readdir(outside)).toEqual(["kept"]);
    expect((await written(other.tenant, "out")).values).toEqual([1]);

    const tenantId = await createTestTenant(store.sql, tenant);
    const again = await createTestPipeline(store.sql, { tenantId, name: "p", plan: planOf(files("out/ship")) });
    await complete(store.sql, again.pipelineId, { jsons: [jsonOf(2)] });
    await until(
      "written anew",
      () => written(tenant, "out/ship"),
      ({ values }) => values.length > 0,
    );
    expect((await written(tenant, "out/ship")).values).toEqual([2]);
    await running.stop();
  });

  it("waits for a load process, and goes on where one was killed", async () => {
    const { pipelineId, tenant } = await pipelineOf(files("out"));
    await complete(store.sql, pipelineId, { jsons: [jsonOf(1)] });
    const first = start(hasty());
    await until(
      "written",
      () => written(tenant, "out"),
      ({ names }) => names.length > 0,
    );
    await first.stop();
    const ask = await askToErase(tenant);
    expect(await untilFilesAreDue(ask)).toMatchObject({ state: "erasing" });
    expect(await isThere(join(folder, tenant, "out"))).toBe(true);

    // One that holds the lock and dies before it has said that it is done.
    const dying = openStore(database.url);
    const session = openExportSession(dying);
    const [erased] = (await session.readErasedTenants()).filter(({ name }) => name === tenant);
    if (erased === undefined) throw new Error("nothing is due");
    expect(await session.lockTenant(erased.tenantId)).toBeDefined();
    await rm(join(folder, tenant, "out"), { recursive: true });
    const second = start();
    expect(await eraseTenants(store.sql, now)).toBe(1);
    expect(await ask()).toMatchObject({ state: "erasing" });
    await session[Symbol.asyncDispose]();
    await dying[Symbol.asyncDispose]();
    await until("erased", eraseAnd(ask), ({ state }) => state === "erased");
    expect(await isThere(join(folder, tenant))).toBe(false);
    await second.stop();
  });
});
