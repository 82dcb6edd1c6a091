/**
 * What a backlog that is held beyond its days costs retention, day after day: time out of sight, and bytes of WAL. On an embedded Postgres with fsync on, in a temp folder.
 * Run: node --conditions=source --import tsx libs/store/bench/held-backlog.ts [--events=200000]
 */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { migrate, openEmbeddedPostgres, openStore, type Store } from "@onedata/store";
import { dropDays } from "@onedata/store/retention";
import { createTestPipeline } from "@onedata/store/testing";

const { values } = parseArgs({ options: { events: { type: "string", default: "200000" } } });
const EVENTS_PER_BATCH = 100;
const DAY_MS = 86_400_000;
const round = (value: number): number => Math.round(value * 10) / 10;

/** Batches of a paused pipeline, captured on one day so many days ago, straight into the tables. */
async function fillDay(store: Store, pipelineId: bigint, { daysAgo, batches }: { daysAgo: number; batches: number }): Promise<void> {
  const day = new Date(Math.floor(Date.now() / DAY_MS) * DAY_MS - daysAgo * DAY_MS);
  await store.sql`
    select onedata.make_partition(t, ${day.toISOString().slice(0, 10).replaceAll("-", "")}, case t when 'batches' then 'id' else 'batch_id' end,
             onedata.id_at(${day}), onedata.id_at(${new Date(day.getTime() + DAY_MS)})) from unnest(array['batches', 'events', 'batch_refs', 'runs', 'outputs']) t`;
  await store.sql`
    insert into onedata.batches (id, seq, tenant_id, pipeline_id, lane_id, n, bytes)
    select onedata.id_at(${day}) + (g::bigint << 20), nextval('onedata.batch_seq'), l.tenant_id, l.pipeline_id, l.id, ${EVENTS_PER_BATCH}, 20000
      from generate_series(1, ${batches}) g, onedata.lanes l where l.pipeline_id = ${pipelineId} and l.class = 'live'`;
  const bounds = store.sql`id >= onedata.id_at(${day}) and id < onedata.id_at(${new Date(day.getTime() + DAY_MS)})`;
  await store.sql`insert into onedata.queue (batch_id, seq, lane_id, n, bytes) select id, seq, lane_id, n, bytes from onedata.batches where ${bounds}`;
  await store.sql`
    insert into onedata.events (batch_id, n, payload) select id, s.n, '{"id":' || s.n || ',"note":"' || repeat(md5(id::text), 5) || '"}'
      from onedata.batches, generate_series(0, ${EVENTS_PER_BATCH - 1}) s(n) where ${bounds}`;
}

const home = mkdtempSync(join(tmpdir(), "onedata-held-"));
// Started by root, Postgres runs as another user, who must reach its data.
chmodSync(home, 0o755);
const server = await openEmbeddedPostgres({ dataDir: join(home, "postgres") });
try {
  await migrate(server.url);
  await using store = openStore(server.url, { applicationName: "held-backlog" });
  const { pipelineId } = await createTestPipeline(store.sql);
  const rows: Record<string, number | string>[] = [];
  const batches = Number(values.events) / EVENTS_PER_BATCH;
  for (const [name, daysAgo, count] of [
    ["first day, all of it held", 12, batches],
    ["second day, 10 batches more", 11, 10],
    ["third day, 10 batches more", 10, 10],
  ] as const) {
    await fillDay(store, pipelineId, { daysAgo, batches: count });
    await store.sql`checkpoint`;
    const [before] = await store.sql<{ lsn: string }[]>`select pg_current_wal_lsn()::text as lsn`;
    const at = performance.now();
    const dropped = await dropDays(store, { cutoff: new Date(Date.now() - (daysAgo - 2) * DAY_MS) });
    const [wal] = await store.sql<
      { bytes: number }[]
    >`select pg_wal_lsn_diff(pg_current_wal_lsn(), ${before?.lsn ?? "0/0"}::pg_lsn)::float8 as bytes`;
    rows.push({
      day: name,
      state: dropped.state,
      "events held": dropped.held.events,
      ms: Math.round(performance.now() - at),
      "WAL MiB": round((wal?.bytes ?? 0) / 1024 ** 2),
    });
  }
  console.table(rows);
} finally {
  await server[Symbol.asyncDispose]();
  rmSync(home, { recursive: true, force: true });
}
