/** The database is away for longer than leases and deadlines, and comes back: nobody has expired, and what has died meanwhile expires a lease later. */
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { captureGroup } from "./capture.ts";
import { type ClaimedRun, claimRun } from "./claim.ts";
import { completeRun } from "./complete.ts";
import { isConnectionLost, openStore } from "./connection.ts";
import { openEmbeddedPostgres } from "./embedded/server.ts";
import { reclaim, registerEngine, renewLease } from "./lease.ts";
import { migrate } from "./migrate.ts";
import { createTestPipeline } from "./testing.ts";

const LEASE_MS = 60_000;

it("a database restart expires neither leases nor deadlines of runs", async () => {
  const dataDir = mkdtempSync(join(tmpdir(), "onedata-restart-"));
  let server = await openEmbeddedPostgres({ dataDir });
  try {
    await migrate(server.url);
    await using store = openStore(server.url);
    const { tenantId, pipelineId } = await createTestPipeline(store.sql);
    const target = { tenantId, pipelineId, version: 1, laneClass: "live" as const, ordered: false };
    const [living, dead] = [randomUUID(), randomUUID()];
    const claim = async (owner: string): Promise<ClaimedRun> => {
      await registerEngine(store, { incarnation: owner, slots: 1, leaseMs: LEASE_MS });
      await captureGroup(store, [{ target, events: [{ payload: "1" }] }]);
      const { run } = await claimRun(store, { runId: randomUUID(), owner, deadlineMs: LEASE_MS, maxEvents: 1 });
      if (run === undefined) throw new Error("no run");
      return run;
    };
    const isYoung = async (): Promise<boolean> =>
      (await store.sql`select pg_postmaster_start_time() + interval '10 seconds' > clock_timestamp() as young`)[0]?.["young"] === true;
    const reached = async <T>(work: () => Promise<T>): Promise<T> => {
      for (;;) {
        try {
          return await work();
        } catch (error) {
          if (!isConnectionLost(error)) throw error;
        }
      }
    };
    let [held, left] = [await claim(living), await claim(dead)];
    for (;;) {
      // All of it ran out while the database was away: it was an hour.
      await store.sql`update onedata.engines set alive_until = alive_until - interval '1 hour', renewed_at = renewed_at - interval '1 hour'`;
      await store.sql`update onedata.queue set run_deadline = run_deadline - interval '1 hour'`;
      await store.sql`update onedata.server_ready set seen_at = seen_at - interval '2 hours'`;
      await server.stop();
      server = await openEmbeddedPostgres({ dataDir, port: server.port });
      const taken = await reached(() => reclaim(store));
      const renewed = await renewLease(store, { incarnation: living, leaseMs: LEASE_MS });
      if (await isYoung()) {
        expect(taken).toEqual([]);
        expect(renewed).toContain(living);
        break;
      }
      // Deadlines may run out ten seconds after a start, and this machine took longer than that: once more.
      await store.sql`delete from onedata.queue`;
      [held, left] = [await claim(living), await claim(dead)];
    }
    // The one that gives no sign of life expires a lease after the start, and only that one.
    await store.sql`update onedata.queue set run_deadline = clock_timestamp() + interval '1 hour'`;
    await store.sql`update onedata.engines set renewed_at = alive_until - interval '1 millisecond' where incarnation = ${dead}`;
    expect((await reclaim(store)).map(({ batchId, failures }) => ({ batchId, failures }))).toEqual([
      { batchId: left.batches[0]?.batchId, failures: 1 },
    ]);
    const batches = held.batches.map((batch) => ({
      ...batch,
      verdicts: Uint8Array.of(1),
      counts: { delivered: 1, filtered: 0, dead: 0 },
    }));
    expect((await completeRun(store, { runId: held.runId, engine: living, wokenBy: "test", durationMs: 1, batches })).size).toBe(1);
  } finally {
    await server.stop();
    rmSync(dataDir, { recursive: true, force: true });
  }
});
