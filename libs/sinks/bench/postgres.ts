/**
 * What a record costs in the Postgres sinks: us of wall time per record, one writer, against a database whose fsync setting it prints.
 * Run: node --conditions=source --import tsx libs/sinks/bench/postgres.ts [postgres://…]   (default: an embedded server with fsync on)
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openEmbeddedPostgres } from "@onedata/store";
import postgres from "postgres";
import { createPools } from "../src/postgres/pools.ts";
import { createPostgresWriter } from "../src/postgres/writer.ts";
import type { SinkGroup, SinkRecord } from "../src/sink.ts";

const given = process.argv[2];
const folder = mkdtempSync(join(tmpdir(), "onedata-bench-"));
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
  json: JSON.stringify({ id: id++, customer: `customer ${id % 100}`, price: 12.35, quantity: 3, total: 37.05, tags: ["a", "b"], created: "2026-11-01T10:00:00Z", ok: true }),
  timeUnixMs: 0,
  source: { batchId, n: ordinal, generation: 0 },
});

let batch = 0n;
const call = (kind: string, groups: number, size: number): SinkGroup[] => {
  let n = 0;
  return Array.from({ length: groups }, (_, g) => {
    batch += 1n;
    const table = `bench_${g}`;
    return {
      kind, sinkId: "bench", pipeline: `p${g}`, version: 1, tenant: "t", configHash: "", empty: [],
      config: kind === "postgres.upsert" ? { connection: "c", table, key: ["id"] } : { connection: "c", table },
      connection: { name: "c", kind: "postgres", config: { url } },
      records: Array.from({ length: size }, (_unused, ordinal) => record(n++, batch + BigInt(Math.floor(ordinal / 100)), ordinal % 100)),
    };
  });
};

try {
  await sql.unsafe(Array.from({ length: 200 }, (_, g) => `drop table if exists bench_${g}; create table bench_${g} (${COLUMNS})`).join(";"));
  const [settings] = await sql`select current_setting('fsync') as fsync, current_setting('server_version') as version`;
  console.log(`Postgres ${settings?.["version"]}, fsync ${settings?.["fsync"]}; 8 columns, ~190 bytes a record`);
  console.log("sink             groups x records   ms per call   us per record   commits");
  for (const kind of ["postgres.insert", "postgres.upsert"]) {
    for (const [groups, size] of [[1, 16], [1, 100], [1, 500], [20, 25], [200, 1], [200, 3]] as const) {
      await writer.write(call(kind, groups, size), context); // opens, prepares
      const calls = Array.from({ length: Math.max(10, Math.ceil(8_000 / (groups * size))) }, () => { batch += 10n; return call(kind, groups, size); });
      const started = performance.now();
      for (const groupsOfCall of calls) for (const outcome of (await writer.write(groupsOfCall, context)).values()) if (outcome.kind !== "written") throw new Error(JSON.stringify(outcome));
      const ms = (performance.now() - started) / calls.length;
      console.log(`${kind.padEnd(16)} ${`${groups} x ${size}`.padStart(16)} ${ms.toFixed(2).padStart(13)} ${((ms * 1000) / (groups * size)).toFixed(1).padStart(15)} ${"1".padStart(9)}`);
    }
  }
  const bad = call("postgres.insert", 1, 500);
  const spoiled = bad.map((group) => ({ ...group, records: group.records.map((r, i) => (i === 321 ? { ...r, json: r.json.replace("12.35", '"x"') } : r)) }));
  const started = performance.now();
  const outcomes = await writer.write(spoiled, context);
  console.log(`one bad record in 500: ${(performance.now() - started).toFixed(1)} ms, ${[...outcomes.values()].filter((o) => o.kind === "written").length} written`);
} finally {
  await pools[Symbol.asyncDispose]();
  await sql.end();
  await embedded?.stop();
  rmSync(folder, { recursive: true, force: true });
}
