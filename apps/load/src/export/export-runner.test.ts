/** Files of file sinks against a real Postgres: each output once, whatever dies and whoever else is at work. */
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type BatchId, formatEventId } from "@onedata/core";
import { connect, type Store } from "@onedata/store";
import { removeDrained } from "@onedata/store/control";
import { dropDays, retentionProblems } from "@onedata/store/retention";
import { ageEvent, type TestDatabase } from "@onedata/store/testing";
import { describe, expect, it } from "vitest";
import {
  addVersion,
  complete,
  files,
  hasty,
  jsonOf,
  numbers,
  pipelineOf,
  sinkOf,
  sorted,
  start,
  still,
  table,
  until,
  useExports,
  written,
} from "./export-testing.ts";

let database: TestDatabase;
let store: Store;
let folder: string;
let lines: string[];
useExports((made) => ({ database, store, folder, lines } = made));

const DAY_MS = 86_400_000;

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
