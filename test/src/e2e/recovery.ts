/**
 * The disk of the platform is lost under load, and comes back from the backup: first as far as the archive goes, then to a time before. The client sends again
 * what it was not told of and what it sent after that time, under the same idempotency keys. The sink's database is another one and keeps what it has.
 *
 * Shown: what was acknowledged before the point is in the sink; nothing is missing at the end; an upsert sink has no duplicates. An insert sink has those that
 * were sent again, and no other: what was captured before the point and delivered after it is in its ledger.
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { spawnCli } from "@onedata/cli/testing";
import { connect, openEmbeddedPostgres, type Sql } from "@onedata/store";
import { waitFor } from "../world/wait-for.ts";
import { openWorld, removeHome, type World } from "../world/world.ts";
import { type NumberedEvents, sendNumbered } from "./events.ts";
import { type E2eOptions, type Outcome, sleep } from "./outcome.ts";

const PATH = "/v1/pipelines/recovery/events";
const ARCHIVE_EVERY_SECONDS = 5;
const PHASE_MS = 6_000;
const DRAIN_MS = 120_000;
/** Acknowledgements reach the client later than their commits. */
const CLIENT_LAG_MS = 1_000;

export async function recovery(options: E2eOptions): Promise<Outcome> {
  const root = mkdtempSync(join(tmpdir(), "onedata-e2e-"));
  const [home, backup] = [join(root, "home"), join(root, "backup")];
  const onedata = (...args: string[]) => callJson(args, home);
  let world: World | undefined;
  try {
    // As root the servers run as another user, who must pass through.
    chmodSync(root, 0o755);
    mkdirSync(home);
    await using sinkServer = await openEmbeddedPostgres({ dataDir: join(root, "sink") });
    await using sink = openSink(sinkServer.url);
    world = await openWorld("solo", { home });
    let current = world;
    await applyPipeline(current, sinkServer.url, sink.sql);
    const events = sendNumbered(() => current, PATH, options.ratePerSecond);
    const times = keepTimes(events);
    try {
      await sleep(PHASE_MS);
      const made = await onedata("backup", backup, "--archive-every", String(ARCHIVE_EVERY_SECONDS));
      options.progress(
        `base copy under load: ${String(made["files"])} files, ${Number(made["seconds"]).toFixed(1)} s; acknowledged ${events.acknowledged.size}`,
      );
      await sleep(PHASE_MS);
      const point = new Date();
      options.progress(`the point: ${point.toISOString()}, acknowledged ${events.acknowledged.size}`);
      await sleep(PHASE_MS + ARCHIVE_EVERY_SECONDS * 1000);

      const postgresPid = current.postgresPid;
      // In one go, or what guards the server would still stop it in an orderly way.
      process.kill(current.pid, "SIGKILL");
      process.kill(postgresPid, "SIGKILL");
      await current.kill();
      const lostAt = Date.now();
      // A client that tries again by the thousand would slow down what is measured: it waits until it is told.
      events.abandon();
      await current[Symbol.asyncDispose]();
      rmSync(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
      const acknowledged = new Map(times());
      options.progress(`killed, and the home removed; acknowledged ${acknowledged.size}`);

      const latestStartMs = performance.now();
      await onedata("restore", backup);
      const latestSeconds = (performance.now() - latestStartMs) / 1000;
      const captured = await readCaptured(home);
      const lost = [...acknowledged].filter(([n]) => !captured.has(n));
      const rpoSeconds = lost.length === 0 ? 0 : Math.max(0, lostAt - Math.min(...lost.map(([, at]) => at))) / 1000;
      options.progress(`restored to the end of the archive in ${latestSeconds.toFixed(1)} s; lost ${lost.length} events, ${rpoSeconds.toFixed(1)} s`);

      const pointStartMs = performance.now();
      const restored = await onedata("restore", backup, "--to", point.toISOString(), "--force");
      const restoreSeconds = (performance.now() - pointStartMs) / 1000;
      const capturedAtPoint = await readCaptured(home);
      world = await openWorld("solo", { home });
      current = world;
      const rtoSeconds = (performance.now() - pointStartMs) / 1000;
      const before = [...acknowledged].filter(([, at]) => at < point.getTime());
      const missingAtPoint = before.filter(([n]) => !capturedAtPoint.has(n)).length;
      options.progress(
        `restored to ${String(restored["reached"])} and up again in ${rtoSeconds.toFixed(1)} s; the client sends again what came after`,
      );

      const all = Array.from({ length: events.sent }, (_, n) => n);
      const again = all.filter((n) => (acknowledged.get(n) ?? Number.POSITIVE_INFINITY) >= point.getTime() - CLIENT_LAG_MS);
      await sendAgain(current, again);
      const queued = await drain(current);
      const found = await compare(sink.sql, all);
      const sentAgain = new Set(again);
      const unexplained = found.doubled.filter((n) => !sentAgain.has(n));
      const ok =
        missingAtPoint === 0 &&
        found.missing === 0 &&
        found.upsertRows === found.upsertDistinct &&
        unexplained.length === 0 &&
        queued === 0 &&
        rpoSeconds < ARCHIVE_EVERY_SECONDS + 10;
      const lines: readonly (readonly [string, string | number])[] = [
        ["to the end of the archive: RTO", `${latestSeconds.toFixed(1)} s for the restore`],
        ["  RPO", `${rpoSeconds.toFixed(1)} s, ${lost.length} events (archived every ${ARCHIVE_EVERY_SECONDS} s)`],
        ["to the point: RTO", `${restoreSeconds.toFixed(1)} s, up again after ${rtoSeconds.toFixed(1)} s`],
        ["  acknowledged before it", before.length],
        ["  of them missing", missingAtPoint],
        ["sent in all, each acknowledged by now", all.length],
        ["  sent again after the restore", again.length],
        ["  missing in the upsert sink", found.missing],
        ["  duplicates in the upsert sink", found.upsertRows - found.upsertDistinct],
        ["  doubled in the insert sink", `${found.doubled.length}, not explained by sending again: ${unexplained.length}`],
        ["left in the queue", queued],
      ];
      return { ok, text: `${lines.map(([what, value]) => `${what.padEnd(34)} ${value}`).join("\n")}\n${ok ? "EXACT" : "NOT EXACT"}` };
    } finally {
      times.stop();
      events.abandon();
    }
  } finally {
    await world?.[Symbol.asyncDispose]();
    removeHome(home);
    rmSync(root, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

async function callJson(args: readonly string[], home: string): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await spawnCli([...args, "--json"], { env: { ONEDATA_HOME: home, PATH: process.env["PATH"] ?? "" } });
  if (code !== 0) throw new Error(`onedata ${args[0]} ended with ${code}: ${stderr}`);
  return JSON.parse(stdout);
}

function openSink(url: string): AsyncDisposable & { readonly sql: Sql } {
  const sql = connect(url, { max: 2, applicationName: "test" });
  return { sql, [Symbol.asyncDispose]: () => sql.end({ timeout: 2 }) };
}

async function applyPipeline(world: World, sinkUrl: string, sink: Sql): Promise<void> {
  await sink.unsafe("create table upserted (n int primary key, text text); create table inserted (n int, text text)");
  const { hostname, port, pathname, username, password } = new URL(sinkUrl);
  const config = { host: hostname, port: Number(port), database: pathname.slice(1), user: username };
  const made = await world.api.send("PUT", "/v1/connections/elsewhere", { kind: "postgres", config, secrets: { password } });
  if (made.status !== 200) throw new Error(`no connection: ${made.text}`);
  const applied = await world.api.send("PUT", "/v1/pipelines/recovery", {
    name: "recovery",
    steps: [{ id: "keep", use: "record.validate", with: { schema: { type: "object" } } }],
    sinks: [
      { use: "postgres.upsert", with: { connection: "elsewhere", table: "upserted", key: ["n"] } },
      { use: "postgres.insert", with: { connection: "elsewhere", table: "inserted" } },
    ],
  });
  if (applied.status !== 200) throw new Error(`the pipeline was not applied: ${applied.text}`);
}

/** When each number was acknowledged, to 20 ms; later rather than earlier. */
function keepTimes(events: NumberedEvents) {
  const times = new Map<number, number>();
  const look = (): Map<number, number> => {
    const now = Date.now();
    let seen = 0;
    for (const n of events.acknowledged) if (seen++ >= times.size) times.set(n, now);
    return times;
  };
  const timer = setInterval(look, 20);
  return Object.assign(look, { stop: () => clearInterval(timer) });
}

async function readCaptured(home: string): Promise<Set<number>> {
  await using server = await openEmbeddedPostgres({ dataDir: join(home, "postgres") });
  const sql = connect(server.url.replace(/\/postgres$/, "/onedata"), { max: 1, applicationName: "test" });
  try {
    const rows = await sql<{ n: number }[]>`
      select (e.payload::json->>'n')::int as n from onedata.events e join onedata.batches b on b.id = e.batch_id
        join onedata.pipelines p on p.id = b.pipeline_id where p.name = 'recovery'`;
    return new Set(rows.map(({ n }) => n));
  } finally {
    await sql.end({ timeout: 2 });
  }
}

/** As the sender sends them: the same body under the same key. */
async function sendAgain(world: World, numbers: readonly number[]): Promise<void> {
  const left = [...numbers];
  const sender = async (): Promise<void> => {
    for (let n = left.pop(); n !== undefined; n = left.pop()) {
      const body = { n, text: `event ${n}` };
      for (let tries = 0; ; tries++) {
        const answer = await world.api.send("POST", PATH, JSON.stringify(body), { "idempotency-key": `event-${n}` });
        if (answer.status === 202 || answer.status === 200) break;
        if (tries === 50) throw new Error(`event ${n} is refused: ${answer.status} ${answer.text}`);
        await sleep(100);
      }
    }
  };
  await Promise.all(Array.from({ length: 32 }, sender));
}

async function drain(world: World): Promise<number> {
  const count = async (): Promise<number> => (await world.platform<{ n: number }[]>`select coalesce(sum(n), 0)::int n from onedata.queue`)[0]?.n ?? 0;
  await waitFor("drained", count, (left) => left === 0, DRAIN_MS).catch(() => undefined);
  return count();
}

async function compare(sink: Sql, sent: readonly number[]) {
  const upserted = await sink<{ n: number }[]>`select n from upserted`;
  const numbers = new Set(upserted.map(({ n }) => n));
  const doubled = await sink<{ n: number }[]>`select n from inserted group by n having count(*) > 1`;
  return {
    missing: sent.filter((n) => !numbers.has(n)).length,
    upsertRows: upserted.length,
    upsertDistinct: numbers.size,
    doubled: doubled.map(({ n }) => n),
  };
}
