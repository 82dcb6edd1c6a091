/**
 * What age and size cost: latency from capture to completion and CPU per event after 1 k, 100 k, 1 M captured events, also under an old snapshot; and what the
 * tables take up before and after retention. On an embedded Postgres with fsync on, in a temp folder.
 */
import { randomUUID } from "node:crypto";
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { connect, migrate, openEmbeddedPostgres, openStore, registerEngine, type Store } from "@onedata/store";
import { dropDays } from "@onedata/store/retention";
import { createTestPipeline } from "@onedata/store/testing";
import { createEngine, grow, measure, type Target } from "./growth-load.ts";
import { backendCpuMs, buffersOf, serverCpuMs } from "./server-figures.ts";

const HELP = `What age and size cost, in CPU time of processes (wall time says little on a shared machine).

  node --conditions=source --import tsx libs/store/bench/growth.ts [options]

  --events=1000,100000,1000000   measure when so many events have been captured; 0 = at once
  --seconds=5                    how long each measurement captures
  --rate=500                     events per second while it measures
  --snapshot                     an application's transaction holds a snapshot from the start
  --held-minutes=0               afterwards: so many minutes more with a snapshot held from here on, a row per minute
  --ordered                      one pipeline with an ordering key (16 lanes per class) instead of one lane
  --help

A million events take some 2 GiB in the temp folder and a few minutes. By hand, at night: --events=1000,1000000,10000000 (about 20 GiB, an hour).`;

const { values } = parseArgs({
  options: {
    events: { type: "string", default: "1000,100000,1000000" },
    seconds: { type: "string", default: "5" },
    rate: { type: "string", default: "500" },
    snapshot: { type: "boolean", default: false },
    "held-minutes": { type: "string", default: "0" },
    ordered: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  process.stdout.write(`${HELP}\n`);
  process.exit(0);
}
const DAY_MS = 86_400_000;
const round = (value: number): number => Math.round(value * 100) / 100;
const quantile = (sorted: readonly number[], q: number): number => round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0);
const mib = (bytes: number): number => round(bytes / 1024 ** 2);

const ownCpuMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

async function readSizes(store: Store): Promise<Record<string, number>> {
  const rows = await store.sql<{ parent: string; bytes: number }[]>`
    select p.relname as parent, sum(pg_total_relation_size(i.inhrelid))::float8 as bytes from pg_inherits i join pg_class p on p.oid = i.inhparent
     where p.relnamespace = 'onedata'::regnamespace and p.relkind = 'p' and p.relname in ('batches', 'events', 'runs', 'outputs') group by 1 order by 1`;
  const [queue] = await store.sql<{ bytes: number }[]>`select pg_total_relation_size('onedata.queue')::float8 as bytes`;
  return Object.fromEntries([...rows.map(({ parent, bytes }) => [`${parent} MiB`, mib(bytes)]), ["queue MiB", mib(queue?.bytes ?? 0)]]);
}

/** An application that began a transaction, read something, and went away. */
async function holdSnapshot(url: string): Promise<AsyncDisposable> {
  const client = connect(url, { max: 1, applicationName: "old-snapshot" });
  await client.unsafe("begin isolation level repeatable read");
  await client`select count(*) from onedata.tenants`;
  return { [Symbol.asyncDispose]: () => client.end({ timeout: 1 }) };
}

const home = mkdtempSync(join(tmpdir(), "onedata-growth-"));
// Started by root, Postgres runs as another user, who must reach its data.
chmodSync(home, 0o755);
const server = await openEmbeddedPostgres({ dataDir: join(home, "postgres") });
try {
  await migrate(server.url);
  await using store = openStore(server.url, { applicationName: "growth" });
  const { tenantId, pipelineId } = await createTestPipeline(store.sql, values.ordered ? { ordering: "customer" } : {});
  const target: Target = { tenantId, pipelineId, version: 1, laneClass: "live", ordered: values.ordered };
  const incarnation = randomUUID();
  await registerEngine(store, { incarnation, slots: 1, leaseMs: 86_400_000 });
  const postmaster = Number(readFileSync(join(server.dataDir, "pg", "postmaster.pid"), "utf8").split("\n")[0]);
  const engine = createEngine(store, incarnation);
  const [claimBackend] = await store.claim<{ pid: number }[]>`select pg_backend_pid() as pid`;
  const claimPid = claimBackend?.pid ?? 0;

  const figures = async (seconds: number): Promise<Record<string, number>> => {
    const read = async () => ({
      own: ownCpuMs(),
      server: serverCpuMs(postmaster),
      claims: backendCpuMs(claimPid),
      buffers: {
        claim: await buffersOf(store.sql, "growth-claim"),
        capture: await buffersOf(store.sql, "growth-c-"),
        completion: await buffersOf(store.sql, "growth-completion"),
      },
    });
    const before = await read();
    const { latencies, events, claims, claimMs, runs, captures } = await measure(store, target, { engine, seconds, rate: Number(values.rate) });
    const after = await read();
    return {
      "events/s": round(events / seconds),
      "p50 ms": quantile(latencies, 0.5),
      "p99 ms": quantile(latencies, 0.99),
      "client CPU ms/event": round((after.own - before.own) / events),
      "server CPU ms/event": round((after.server - before.server) / events),
      "claims/s": round(claims / seconds),
      "ms/claim": round(claimMs / claims),
      "CPU ms/claim": round((after.claims - before.claims) / claims),
      "buffers/claim": Math.round((after.buffers.claim - before.buffers.claim) / claims),
      "buffers/completion": Math.round((after.buffers.completion - before.buffers.completion) / runs),
      "buffers/capture": Math.round((after.buffers.capture - before.buffers.capture) / captures),
    };
  };

  const rows: Record<string, number | string>[] = [];
  const table: Record<string, number | string>[] = [];
  {
    await using _held = values.snapshot ? await holdSnapshot(server.url) : undefined;
    let captured = 0;
    for (const size of values.events.split(",").map(Number)) {
      await grow(store, target, engine, Math.max(0, size - captured));
      captured = Math.max(captured, size);
      rows.push({ "captured before": size, snapshot: values.snapshot ? "held" : "none", ...(await figures(Number(values.seconds))) });
      captured += Math.round(Number(values.seconds) * Number(values.rate));
      table.push({ when: `after ${size}`, ...(await readSizes(store)) });
    }
  }
  console.table(rows);
  const minutes = Number(values["held-minutes"]);
  if (minutes > 0) {
    const held: Record<string, number | string>[] = [{ minute: "before", ...(await figures(30)), ...(await readQueue(store)) }];
    {
      await using _held = await holdSnapshot(server.url);
      for (let minute = 1; minute <= minutes; minute++) {
        held.push({ minute, ...(await figures(60)), ...(await readQueue(store)) });
        console.log(JSON.stringify(held.at(-1)));
      }
    }
    await store.sql`vacuum onedata.queue`;
    held.push({ minute: "ended", ...(await figures(30)), ...(await readQueue(store)) });
    console.table(held);
    table.push({ when: `after ${minutes} minutes held`, ...(await readSizes(store)) });
  }
  // As if three days had passed and everything were older than a day.
  const startedAt = performance.now();
  const dropped = await dropDays(store, { cutoff: new Date(Date.now() + 2 * DAY_MS) });
  table.push({ when: `after retention (${dropped.state}, ${Math.round(performance.now() - startedAt)} ms)`, ...(await readSizes(store)) });
  console.table(table);
} finally {
  await server[Symbol.asyncDispose]();
  rmSync(home, { recursive: true, force: true });
}

async function readQueue(store: Store): Promise<Record<string, number>> {
  const [row] = await store.sql<
    { dead: number }[]
  >`select coalesce(n_dead_tup, 0)::float8 as dead from pg_stat_user_tables where relid = 'onedata.queue'::regclass`;
  return { "dead rows": row?.dead ?? 0 };
}
