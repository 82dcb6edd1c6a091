/** For tests of file sinks: a database of the file's own, a folder of each test's own, and an export runner in a hurry. */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock, PipelineId, TenantId } from "@onedata/core";
import { createLogger } from "@onedata/mesh";
import { openStore, type Sql, type Store } from "@onedata/store";
import { createTestPipeline, openTestDatabase, type TestDatabase } from "@onedata/store/testing";
import { afterAll, afterEach, beforeAll, beforeEach } from "vitest";
import { createExportRunner, type ExportRunnerOptions } from "./export-runner.ts";

let database: TestDatabase;
let store: Store;
let folder: string;
let lines: string[];

export type ExportWorld = { readonly database: TestDatabase; readonly store: Store; readonly folder: string; readonly lines: string[] };

/** Registers the file's hooks. `ready` gets folder and log lines of each test before it begins. */
export function useExports(ready: (made: ExportWorld) => void): void {
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
    ready({ database, store, folder, lines });
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));
}

export const still: Clock = { now: () => 0 };
/** Every look is a minute later: files are finished at once, and there are many. */
export const hasty = (): Clock => {
  let minutes = 0;
  return { now: () => ++minutes * 60_000 };
};
const quick: ExportRunnerOptions = { discoverMs: 20, pollMs: 5, mostPollMs: 20, retryMs: 5, mostRetryMs: 40, takeOverMs: 100 };

export function start(clock: Clock = still, options: ExportRunnerOptions = {}): { stop(): Promise<void> } {
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

export const sinkOf = (id: string, kind: string, config: object) => ({ id, kind, service: "engine", config, configHash: "h", inputs: [] });
export const files = (path: string, more: object = {}) => sinkOf("files", "file.ndjson", { path, maxMinutes: 1, ...more });
export const table = sinkOf("table", "onedata.outputs", {});
export const planOf = (...sinks: object[]) => ({ route: "", stages: [], sinks });

export async function pipelineOf(...sinks: object[]): Promise<{ pipelineId: PipelineId; name: string; tenant: string; tenantId: TenantId }> {
  const { pipelineId, tenantId } = await createTestPipeline(store.sql, { name: `p${++made}`, plan: planOf(...sinks) });
  const [row] = await store.sql<{ name: string }[]>`select name from onedata.tenants where id = ${tenantId}`;
  return { pipelineId, name: `p${made}`, tenant: row?.name ?? "", tenantId };
}
let made = 0;

export async function addVersion(pipelineId: PipelineId, version: number, ...sinks: object[]): Promise<void> {
  await store.sql`insert into onedata.pipeline_versions (pipeline_id, version, hash, spec, plan, route)
    values (${pipelineId}, ${version}, 'h', '{}', ${JSON.stringify(planOf(...sinks))}::text::json, '')`;
}

/** As a completion writes it. */
export async function complete(
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
export const numbers = (from: number, count: number): number[] => Array.from({ length: count }, (_, i) => from + i);
export const jsonOf = (i: number): string => `{"i":${i}}`;

export async function written(tenant: string, path: string): Promise<{ names: string[]; values: number[] }> {
  const names = (await readdir(join(folder, tenant, path)).catch(() => [])).filter((name) => !name.startsWith(".")).sort();
  const texts = await Promise.all(names.map((name) => readFile(join(folder, tenant, path, name), "utf8")));
  const values = texts
    .join("")
    .split("\n")
    .filter((line) => line !== "");
  return { names, values: values.map((line): number => JSON.parse(line).i) };
}
export async function until<T>(what: string, read: () => Promise<T>, holds: (value: T) => boolean): Promise<T> {
  const deadline = performance.now() + 20_000;
  for (;;) {
    const value = await read();
    if (holds(value)) return value;
    if (performance.now() > deadline) throw new Error(`still not: ${what}; last: ${JSON.stringify(value)}\n${lines.slice(-5).join("")}`);
    await new Promise((done) => setTimeout(done, 10));
  }
}
export const sorted = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b);
