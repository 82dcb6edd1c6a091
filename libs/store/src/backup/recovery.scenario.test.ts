/** The drill: capture under load, back up meanwhile, lose the home, restore to the end of the archive and to a time before, send again what was lost. */
import { randomUUID } from "node:crypto";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import type { CaptureTarget } from "../capture-batches.ts";
import { claimRun } from "../claim.ts";
import { openStore } from "../connection.ts";
import { registerEngine } from "../lease.ts";
import { createTestPipeline } from "../testing.ts";
import { archiveStatus, backUp, restoreBackup, verifyBackup } from "./index.ts";
import { captureNumber, captureNumbered, openTestHome, readNumbers } from "./testing.ts";

const MORE = 100;

it("brings back what was acknowledged before the point, to the end of the archive and to a time before", async () => {
  const root = mkdtempSync(join(tmpdir(), "onedata-recovery-"));
  chmodSync(root, 0o755);
  const [home, folder] = [join(root, "home"), join(root, "backup")];
  try {
    const lost = await openTestHome(home);
    const store = openStore(lost.url);
    const { tenantId, pipelineId } = await createTestPipeline(store.sql);
    const target: CaptureTarget = { tenantId, pipelineId, version: 1, laneClass: "live", ordered: false };
    const load = captureNumbered(store, target);
    const more = async (): Promise<void> => {
      const before = load.acknowledged.size;
      await expect.poll(() => load.acknowledged.size, { timeout: 20_000 }).toBeGreaterThan(before + MORE);
    };
    await more();
    const incarnation = randomUUID();
    await registerEngine(store, { incarnation, slots: 1, leaseMs: 3_600_000 });
    const { run } = await claimRun(store, { runId: randomUUID(), owner: incarnation, deadlineMs: 3_600_000, maxEvents: 10 });
    expect(run?.events).toBeGreaterThan(0);

    const made = await backUp({ home, folder, keep: 7, archiveEverySeconds: 1 });
    expect({ ...made, warnings: made.warnings.length }).toMatchObject({ archiveStarted: true, removedCopies: [], warnings: 2 });
    expect([readFileSync(join(made.folder, "home/secret.key"), "utf8"), statSync(join(made.folder, "home/secret.key")).mode & 0o777]).toEqual([
      "the key\n",
      0o600,
    ]);
    await more();
    // The server's clock is this machine's: between two acknowledgements lies a time that nothing was committed at.
    const point = new Date(Math.max(...load.acknowledged.values()));
    await more();
    const [current] = await store.sql<{ name: string }[]>`select pg_walfile_name(pg_current_wal_lsn()) as name`;
    await expect
      .poll(async () => (await archiveStatus(store.sql)).lastArchived ?? "", { timeout: 20_000 })
      .toSatisfy((name) => name >= (current?.name ?? "?"));

    lost.kill();
    const lostAt = Date.now();
    await load.stop();
    await store[Symbol.asyncDispose]();
    rmSync(home, { recursive: true, force: true });

    expect((await verifyBackup(folder)).copies.flatMap(({ problems }) => problems)).toEqual([]);
    const startMs = performance.now();
    const latest = await restoreBackup({ folder, home });
    const rtoSeconds = (performance.now() - startMs) / 1000;
    expect([latest.movedAside, latest.fenced.released]).toEqual([[], run?.batches.length]);
    {
      await using server = await openTestHome(home);
      await using restored = openStore(server.url);
      const numbers = new Set(await readNumbers(restored));
      const missing = [...load.acknowledged].filter(([n]) => !numbers.has(n));
      const rpoSeconds = missing.length === 0 ? 0 : Math.max(0, lostAt - Math.min(...missing.map(([, at]) => at))) / 1000;
      console.log(
        `to the end: RTO ${rtoSeconds.toFixed(1)} s; RPO ${rpoSeconds.toFixed(2)} s, ${missing.length} of ${load.acknowledged.size} acknowledged events (a segment at least every second)`,
      );
      expect(rpoSeconds).toBeLessThan(30);
      expect(await archiveStatus(restored.sql)).toMatchObject({ state: "off" });
      const [held] = await restored.sql`select count(*)::int as n from onedata.queue where run_id is not null`;
      expect([held?.["n"], (await restored.sql`select from onedata.engines`).length]).toEqual([0, 0]);
    }

    await expect(restoreBackup({ folder, home, to: point })).rejects.toThrow(/would be replaced.*--force/);
    await expect(restoreBackup({ folder, home, to: new Date(Date.now() + 3_600_000), force: true })).rejects.toThrow(/lies in the future/);
    const past = await restoreBackup({ folder, home, to: point, force: true, paused: true });
    expect(past.movedAside).toEqual([expect.stringContaining("postgres.before-restore-")]);
    expect(past.reached?.getTime()).toBeLessThanOrEqual(point.getTime());
    await using server = await openTestHome(home);
    await using restored = openStore(server.url);
    const numbers = new Set(await readNumbers(restored));
    const expected = [...load.acknowledged].filter(([, at]) => at < point.getTime()).map(([n]) => n);
    expect(expected.filter((n) => !numbers.has(n))).toEqual([]);
    expect(numbers.size).toBeLessThan(load.acknowledged.size - MORE / 2);
    const [pipeline] = await restored.sql`select state, generation from onedata.pipelines where id = ${pipelineId}`;
    expect(pipeline).toEqual({ state: "paused", generation: 10_000 });

    // The client sends everything again: what is known keeps its id, what was lost is captured.
    const answers = await Promise.all([...load.acknowledged.keys()].map((n) => captureNumber(restored, target, n)));
    expect(answers.every(Boolean)).toBe(true);
    const all = await readNumbers(restored);
    expect([all.length, new Set(all).size]).toEqual([load.acknowledged.size, load.acknowledged.size]);

    // The restored server takes the folder over, and is restored from it in turn, along its own timeline.
    expect(await backUp({ home, folder, keep: 1, archiveEverySeconds: 1 })).toMatchObject({ archiveStarted: true, removedCopies: [made.label] });
    expect((await verifyBackup(folder)).copies.flatMap(({ problems }) => problems)).toEqual([]);
    await restoreBackup({ folder, home: join(root, "third") });
    await using third = await openTestHome(join(root, "third"));
    await using thirdStore = openStore(third.url);
    expect(new Set(await readNumbers(thirdStore))).toEqual(new Set(all));
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}, 400_000);
