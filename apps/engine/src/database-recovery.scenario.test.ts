/** One process of the database is killed: the postmaster lives on, and nobody can connect until the data is recovered. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { migrate, openEmbeddedPostgres } from "@onedata/store";
import { holdCrashRecovery, untilServerIsOld } from "@onedata/store/testing";
import { expect, it } from "vitest";
import { createTestService, openEngineWorld, until } from "./engine-world.ts";

const LEASE_MS = 5_000;

it("a recovery that outlasts the lease costs a living engine nothing: no run is taken back, no crash is counted, the event is delivered once", async () => {
  const dataDir = mkdtempSync(join(tmpdir(), "onedata-recovery-"));
  try {
    const server = await openEmbeddedPostgres({ dataDir });
    await migrate(server.url);
    await using world = await openEngineWorld(server);
    const { sql } = world.store;
    const pipeline = await world.pipeline();
    const service = createTestService({ record: () => undefined });
    let letGo = (): void => undefined;
    const gate = new Promise<void>((done) => (letGo = done));
    service.rules.apply = () => gate;
    await using running = await world.startEngine(service, { leaseMs: LEASE_MS });
    const { incarnation } = running.engine;
    await untilServerIsOld(world.store);
    const [before] = await sql`select pg_postmaster_start_time() as started`;
    await pipeline.capture([1]);
    await until("in a run", () => service.calls.apply === 1);

    const goOn = await holdCrashRecovery(server);
    try {
      const heldAtMs = performance.now();
      await until("longer than the lease", () => performance.now() - heldAtMs > LEASE_MS + 1_000);
    } finally {
      goOn();
    }

    // The engine has looked for abandoned runs (it wrote down that the server is back), and has renewed its lease well after that.
    const ask = async <T>(read: () => Promise<T>): Promise<T | undefined> => read().catch(() => undefined);
    await until("renewed", async () => {
      const row = await ask(() => sql`select 1 from onedata.engines e, onedata.server_ready s where e.renewed_at > s.seen_at + interval '3 seconds'`);
      return (row?.length ?? 0) > 0;
    });
    expect(running.engine.incarnation).toBe(incarnation);
    expect(await sql`select owner, attempt, failures, suspect from onedata.queue`).toEqual([
      { owner: incarnation, attempt: 1, failures: 0, suspect: false },
    ]);
    letGo();
    await until("delivered", async () => (await pipeline.waiting()) === 0);
    expect(await pipeline.outputs()).toEqual([1]);
    expect(service.calls.apply).toBe(1);
    // Else it was another fault than the one this is about.
    expect((await sql`select pg_postmaster_start_time() as started`)[0]).toEqual(before);
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
});
