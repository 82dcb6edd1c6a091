/**
 * What a record costs in the Postgres sinks: wall time per call, and CPU us per record of the writer and of the server's process that serves it (the figure that a
 * busy machine does not spoil). One writer; it prints the fsync setting.
 * Run: node --conditions=source --import tsx libs/sinks/bench/postgres.ts [postgres://…]   (default: an embedded server with fsync on)
 */
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openEmbeddedPostgres } from "@onedata/store";
import postgres from "postgres";
import { createPools } from "../src/postgres/pools.ts";
import { createPostgresWriter } from "../src/postgres/writer.ts";
import type { SinkGroup, SinkRecord } from "../src/sink.ts";

const given = process.argv[2];
const folder = mkdtempSync(join(tmpdir(), "onedata-bench-"));
chmodSync(folder, 0o755); // run as root, the server is another user
const embedded = given === undefined ? await openEmbeddedPostgres({ dataDir: folder }) : undefined;
const url = given ?? embedded?.url ?? "";
const sql = postgres(url, { max: 1, onnotice: () => undefined });
const pools = createPools();
const writer = createPostgresWriter(pools);
const context = { installation: crypto.randomUUID(), runId: "bench", signal: new AbortController().signal };
const COLUMNS = "id bigint primary key, customer text, price numeric, quantity int, total numeric, tags jsonb, created timestamptz, ok boolean";

let id = 0;
const record = (n: number, batchId: bigint, ordinal: number): SinkRecord => ({
  n,
  key: `${batchId}.${ordinal}`,
  json: JSON.stringify({
    id: id++,
    customer: `customer ${id % 100}`,
    price: 12.35,
    quantity: 3,
    total: 37.05,
    tags: ["a", "b"],
    created: "2026-11-01T10:00:00Z",
    ok: true,
  }),
  timeUnixMs: 0,
  source: { batchId, seq: batchId, n: ordinal, generation: 0 },
});

let batch = 0n;
const call = (kind: string, groups: number, size: number): SinkGroup[] => {
  let n = 0;
  return Array.from({ length: groups }, (_, g) => {
    batch += 1n;
    const table = `bench_${g}`;
    return {
      kind,
      sinkId: "bench",
      pipeline: `p${g}`,
      version: 1,
      tenant: "t",
      configHash: "",
      empty: [],
      config: kind === "postgres.upsert" ? { connection: "c", table, key: ["id"] } : { connection: "c", table },
      connection: { name: "c", kind: "postgres", config: { url } },
      records: Array.from({ length: size }, (_unused, ordinal) => record(n++, batch + BigInt(Math.floor(ordinal / 100)), ordinal % 100)),
    };
  });
};

/** CPU us of the sink's server processes so far; NaN where /proc does not tell (another machine). */
async function serverCpuUs(): Promise<number> {
  const rows = await sql`select pid from pg_stat_activity where application_name = 'onedata sink'`;
  try {
    // Fields 14 and 15 of proc(5) stat, in ticks of 10 ms; the name before them may hold blanks.
    return rows
      .map(({ pid }) =>
        readFileSync(`/proc/${pid}/stat`, "utf8")
          .replace(/^.*\) /, "")
          .split(" "),
      )
      .reduce((sum, f) => sum + (Number(f[11]) + Number(f[12])) * 10_000, 0);
  } catch {
    return Number.NaN;
  }
}

try {
  await sql.unsafe(Array.from({ length: 200 }, (_, g) => `drop table if exists bench_${g}; create table bench_${g} (${COLUMNS})`).join(";"));
  const [settings] = await sql`select current_setting('fsync') as fsync, current_setting('server_version') as version`;
  console.log(`Postgres ${settings?.["version"]}, fsync ${settings?.["fsync"]}; 8 columns, ~190 bytes a record`);
  console.log("sink             groups x records   ms per call   CPU us per record: writer   server");
  for (const kind of ["postgres.insert", "postgres.upsert"]) {
    for (const [groups, size] of [
      [1, 16],
      [1, 100],
      [1, 500],
      [20, 25],
      [200, 1],
      [200, 3],
    ] as const) {
      await writer.write(call(kind, groups, size), context); // opens, prepares
      const calls = Array.from({ length: Math.max(10, Math.ceil(8_000 / (groups * size))) }, () => {
        batch += 10n;
        return call(kind, groups, size);
      });
      const [serverBefore, cpuBefore, started] = [await serverCpuUs(), process.cpuUsage(), performance.now()];
      for (const groupsOfCall of calls)
        for (const outcome of (await writer.write(groupsOfCall, context)).values())
          if (outcome.kind !== "written") throw new Error(JSON.stringify(outcome));
      const ms = (performance.now() - started) / calls.length;
      const cpu = process.cpuUsage(cpuBefore);
      const records = calls.length * groups * size;
      const perRecord = (us: number): string => (us / records).toFixed(1);
      console.log(
        `${kind.padEnd(16)} ${`${groups} x ${size}`.padStart(16)} ${ms.toFixed(2).padStart(13)} ${perRecord(cpu.user + cpu.system).padStart(26)} ${perRecord((await serverCpuUs()) - serverBefore).padStart(8)}`,
      );
    }
  }
  const bad = call("postgres.insert", 1, 500);
  const spoiled = bad.map((group) => ({
    ...group,
    records: group.records.map((r, i) => (i === 321 ? { ...r, json: r.json.replace("12.35", '"x"') } : r)),
  }));
  const started = performance.now();
  const outcomes = await writer.write(spoiled, context);
  console.log(
    `one bad record in 500: ${(performance.now() - started).toFixed(1)} ms, ${[...outcomes.values()].filter((o) => o.kind === "written").length} written`,
  );
} finally {
  await pools[Symbol.asyncDispose]();
  await sql.end();
  await embedded?.stop();
  rmSync(folder, { recursive: true, force: true });
}
