/**
 * What claims and captures cost, each shape in at most some seconds, on an embedded Postgres with fsync on.
 * Run: node --conditions=source --import tsx libs/store/bench/claim-costs.ts [capture|claim|snapshot ...]
 */
import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type CaptureRequest,
  type ClaimedRun,
  captureGroup,
  completeRun,
  createClaimer,
  migrate,
  openEmbeddedPostgres,
  openStore,
  registerEngine,
  type Store,
} from "@onedata/store";
import { createTestPipeline, createTestTenant } from "@onedata/store/testing";
import { buffersOf } from "./server-figures.ts";

type Target = CaptureRequest["target"];
type Row = {
  shape: string;
  claims: number;
  "p50 ms": number;
  "p99 ms": number;
  "events/claim": number;
  "lost %": number;
  "events/s": number;
  "buffers/claim"?: number;
  "buffers/completion"?: number;
};

const only = new Set(process.argv.slice(2));
const wants = (name: string): boolean => only.size === 0 || only.has(name);
const payload = JSON.stringify({ id: 123456, customer: "customer-42", price: 12.5, quantity: 3, country: "NO", note: "x".repeat(100) });
const round = (value: number): number => Math.round(value * 100) / 100;
const quantile = (values: number[], q: number): number =>
  round([...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))] ?? 0);

async function pipelines(store: Store, count: number, options: { ordering?: string; laneClass?: "live" | "bulk" } = {}): Promise<Target[]> {
  const tenantId = await createTestTenant(store.sql);
  const targets: Target[] = [];
  for (let i = 0; i < count; i++) {
    const made = await createTestPipeline(store.sql, {
      tenantId,
      route: "record",
      ...(options.ordering === undefined ? {} : { ordering: options.ordering }),
    });
    targets.push({
      tenantId,
      pipelineId: made.pipelineId,
      version: 1,
      laneClass: options.laneClass ?? "live",
      ordered: options.ordering !== undefined,
    });
  }
  return targets;
}

/** Batches straight into queue and batches: the claim does not look at events. */
async function fill(store: Store, targets: readonly Target[], batchesPerLane: number, n: number): Promise<void> {
  await store.sql.unsafe(
    `insert into onedata.queue (batch_id, seq, lane_id, n, bytes)
     select onedata.next_id(), nextval('onedata.batch_seq'), l.id, ${n}, ${n * 200}
       from generate_series(1, ${batchesPerLane}) g, onedata.lanes l where l.pipeline_id in (${targets.map((target) => target.pipelineId).join(",")}) and l.class = '${targets[0]?.laneClass ?? "live"}'`,
  );
}

/** Claims and completes until `until`; the completion is a bare delete under the fence unless `whole`. */
async function drain(stores: readonly Store[], shape: string, limits: { ms: number; claims?: number }): Promise<Row> {
  const incarnations = stores.map(() => randomUUID());
  for (const [i, store] of stores.entries()) await registerEngine(store, { incarnation: incarnations[i] ?? "", slots: 2, leaseMs: 60_000 });
  const times: number[] = [];
  const counts = { events: 0, lost: 0, batches: 0, runs: 0 };
  const before = await readBuffers(stores);
  const started = performance.now();
  await Promise.all(
    stores.map(async (store, i) => {
      const claimer = createClaimer(store);
      while (performance.now() - started < limits.ms && times.length < (limits.claims ?? Number.POSITIVE_INFINITY)) {
        const at = performance.now();
        const run: ClaimedRun | undefined = await claimer.claim({
          runId: randomUUID(),
          owner: incarnations[i] ?? "",
          deadlineMs: 60_000,
          engines: incarnations,
        });
        times.push(performance.now() - at);
        if (run === undefined) break;
        counts.events += run.events;
        counts.lost += run.lost;
        counts.batches += run.batches.length;
        counts.runs += 1;
        await finish(store, run, incarnations[i] ?? "");
      }
    }),
  );
  const seconds = (performance.now() - started) / 1000;
  const after = await readBuffers(stores);
  return {
    shape,
    claims: times.length,
    "p50 ms": quantile(times, 0.5),
    "p99 ms": quantile(times, 0.99),
    "events/claim": Math.round(counts.events / times.length),
    "lost %": round((100 * counts.lost) / Math.max(1, counts.batches + counts.lost)),
    "events/s": Math.round(counts.events / seconds),
    "buffers/claim": Math.round((after.claims - before.claims) / times.length),
    "buffers/completion": Math.round((after.completions - before.completions) / counts.runs),
  };
}

/** Exact: the backends hand in what they have counted first. */
async function readBuffers(stores: readonly Store[]): Promise<{ claims: number; completions: number }> {
  for (const { claim, completion } of stores) for (const sql of [claim, completion]) await sql`select pg_stat_force_next_flush()`;
  const [{ sql }] = stores as [Store];
  return { claims: await buffersOf(sql, "claim-costs-claim"), completions: await buffersOf(sql, "claim-costs-completion") };
}

const finish = (store: Store, run: ClaimedRun, engine: string): Promise<unknown> =>
  completeRun(store, {
    runId: run.runId,
    engine,
    wokenBy: "bench",
    durationMs: 1,
    batches: run.batches.map((batch) => ({
      ...batch,
      orderedLaneId: batch.ordered ? batch.laneId : undefined,
      verdicts: new Uint8Array(batch.n).fill(1),
      counts: { delivered: batch.n, filtered: 0, dead: 0 },
    })),
  });

const clear = async (store: Store): Promise<void> => {
  await store.sql.unsafe("truncate onedata.queue");
  await store.sql.unsafe("update onedata.lanes set run_id = null where run_id is not null");
  await store.sql.unsafe("vacuum analyze onedata.queue");
  await store.sql.unsafe("vacuum analyze onedata.lanes");
};

async function benchClaims(store: Store, other: Store): Promise<Row[]> {
  const rows: Row[] = [];
  const shape = async (name: string, prepare: () => Promise<void>, stores: readonly Store[] = [store], ms = 6000): Promise<void> => {
    await clear(store);
    await prepare();
    rows.push(await drain(stores, name, { ms }));
  };
  const one = await pipelines(store, 1);
  const two00 = await pipelines(store, 200);
  const bulk = await pipelines(store, 1, { laneClass: "bulk" });
  const ordered = await pipelines(store, 10, { ordering: "k" });
  await shape("1 lane deep, 20,000 batches of 1", () => fill(store, one, 20_000, 1));
  await shape("1 lane deep, 20,000 batches of 25", () => fill(store, one, 20_000, 25));
  await shape("200 lanes x 100 batches of 2", () => fill(store, two00, 100, 2));
  await shape("2 engines, 200 lanes x 200 batches of 2", () => fill(store, two00, 200, 2), [store, other]);
  await shape("2 engines, 200 lanes x 3 batches of 2", () => fill(store, two00, 3, 2), [store, other]);
  await shape("ordered: 160 lanes x 100 batches of 2", () => fill(store, ordered, 100, 2));
  await shape("2 engines, ordered: 160 lanes x 100 of 2", () => fill(store, ordered, 100, 2), [store, other]);
  await shape("1 M events in full bulk batches beside 200 live lanes x 50 of 2", async () => {
    await fill(store, bulk, 10_000, 100);
    await fill(store, two00, 50, 2);
  });
  await shape("analysed while empty, then 200 lanes x 50 of 2", () => fill(store, two00, 50, 2));
  return rows;
}

/** An application's transaction holds its snapshot while batches go through: nothing dead can be vacuumed. One engine that lives all the while. */
async function benchSnapshot(store: Store): Promise<Row[]> {
  const rows: Row[] = [];
  await clear(store);
  const targets = await pipelines(store, 200);
  const engine = randomUUID();
  await registerEngine(store, { incarnation: engine, slots: 2, leaseMs: 60_000 });
  const claimer = createClaimer(store);
  const idle = await store.sql.reserve();
  await idle`begin isolation level repeatable read`;
  await idle`select count(*) from onedata.queue`;
  for (let dead = 0; dead <= 300_000; dead += 60_000) {
    const times: number[] = [];
    let events = 0;
    const started = performance.now();
    for (let i = 0; i < 60; i++) {
      if (i % 2 === 0) await fill(store, targets, 2, 2);
      const at = performance.now();
      const run = await claimer.claim({ runId: randomUUID(), owner: engine, deadlineMs: 60_000 });
      times.push(performance.now() - at);
      events += run?.events ?? 0;
      if (run !== undefined) await finish(store, run, engine);
    }
    rows.push({
      shape: `old snapshot, ${dead} dead batches before, 200 lanes`,
      claims: times.length,
      "p50 ms": quantile(times, 0.5),
      "p99 ms": quantile(times, 0.99),
      "events/claim": Math.round(events / times.length),
      "lost %": 0,
      "events/s": Math.round((events * 1000) / (performance.now() - started)),
    });
    await fill(store, targets, 300, 2);
    await store.sql.unsafe("update onedata.queue set run_id = gen_random_uuid(), state = 'leased'");
    await store.sql.unsafe("delete from onedata.queue");
  }
  await idle`commit`;
  idle.release();
  return rows;
}

async function benchCapture(store: Store): Promise<Record<string, unknown>[]> {
  const rows: Record<string, unknown>[] = [];
  const one = await pipelines(store, 1);
  const many = await pipelines(store, 200);
  const cpu = async (): Promise<number> => {
    // CPU of every Postgres process that this server has now.
    const [row] = await store.sql<{ pids: number[] }[]>`select array_agg(pid) pids from pg_stat_activity`;
    return (row?.pids ?? []).reduce((sum, pid) => {
      const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
      return sum + (Number(fields[11]) + Number(fields[12])) * 10_000;
    }, 0);
  };
  for (const [name, targets, size] of [
    ["1 pipeline", one, 1],
    ["1 pipeline", one, 10],
    ["1 pipeline", one, 100],
    ["200 pipelines", many, 10],
    ["200 pipelines", many, 100],
  ] as const) {
    const started = performance.now();
    const [cpuPg, cpuUs] = [await cpu(), process.cpuUsage()];
    let groups = 0;
    const times: number[] = [];
    await Promise.all(
      [0, 1].map(async (writer) => {
        while (performance.now() - started < 4000) {
          const requests: CaptureRequest[] = Array.from(
            { length: size },
            (_, i) => ({ target: targets[(i * 7 + groups * 13 + writer) % targets.length] ?? one[0], events: [{ payload }] }) as CaptureRequest,
          );
          const at = performance.now();
          await captureGroup(store, requests);
          times.push(performance.now() - at);
          groups += 1;
        }
      }),
    );
    const seconds = (performance.now() - started) / 1000;
    const client = process.cpuUsage(cpuUs);
    const events = groups * size;
    rows.push({
      shape: `capture, ${name}, groups of ${size}, 2 writers`,
      "events/s": Math.round(events / seconds),
      "commit p50 ms": quantile(times, 0.5),
      "p99 ms": quantile(times, 0.99),
      "postgres us/event": round(((await cpu()) - cpuPg) / events),
      "client us/event": round((client.user + client.system) / events),
    });
    await clear(store);
  }
  return rows;
}

const dataDir = mkdtempSync(join(tmpdir(), "onedata-bench-"));
{
  await using server = await openEmbeddedPostgres({ dataDir });
  await migrate(server.url);
  const options = { applicationName: "claim-costs", completionConnections: 1 };
  await using store = openStore(server.url, options);
  await using other = openStore(server.url, options);
  if (wants("capture")) console.table(await benchCapture(store));
  if (wants("claim")) console.table(await benchClaims(store, other));
  if (wants("snapshot")) console.table(await benchSnapshot(store));
}
rmSync(dataDir, { recursive: true, force: true });
