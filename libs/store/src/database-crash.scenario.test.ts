/** The database itself is killed under load, with fsync on: what was acknowledged is there, once. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { captureGroup } from "./capture.ts";
import type { CaptureTarget } from "./capture-batches.ts";
import { openStore } from "./connection.ts";
import { openEmbeddedPostgres } from "./embedded/server.ts";
import { migrate } from "./migrate.ts";
import { createTestPipeline } from "./testing.ts";

it("keeps every acknowledged event exactly once when the database is killed and comes back", async () => {
  const dataDir = mkdtempSync(join(tmpdir(), "onedata-crash-"));
  try {
    const first = await openEmbeddedPostgres({ dataDir });
    await migrate(first.url);
    await using store = openStore(first.url);
    const { tenantId, pipelineId } = await createTestPipeline(store.sql);
    const target: CaptureTarget = { tenantId, pipelineId, version: 1, laneClass: "live", ordered: false };
    const acknowledged = new Set<string>();
    const unknown = new Set<string>();
    let stop = false;
    const sender = async (name: string): Promise<void> => {
      for (let i = 0; !stop; i++) {
        const events = [0, 1, 2].map((n) => ({ payload: JSON.stringify(`${name}-${i}-${n}`) }));
        const outcomes = (await captureGroup(store, [{ target, events }])).flat();
        for (const [n, outcome] of outcomes.entries()) {
          const payload = events[n]?.payload ?? "";
          if (outcome.kind === "captured") acknowledged.add(payload);
          else unknown.add(payload);
        }
      }
    };
    const senders = ["a", "b"].map(sender);
    await expect.poll(() => acknowledged.size, { timeout: 20_000 }).toBeGreaterThan(100);
    process.kill(Number(readFileSync(join(dataDir, "pg/postmaster.pid"), "utf8").split("\n")[0]), "SIGKILL");
    await using second = await openEmbeddedPostgres({ dataDir, port: first.port });
    expect(second.port).toBe(first.port);
    const before = acknowledged.size;
    await expect.poll(() => acknowledged.size, { timeout: 30_000 }).toBeGreaterThan(before + 100);
    stop = true;
    await Promise.all(senders);
    const rows = await store.sql<{ payload: string }[]>`select payload from onedata.events`;
    const stored = new Map<string, number>();
    for (const { payload } of rows) stored.set(payload, (stored.get(payload) ?? 0) + 1);
    expect([...stored.values()].every((times) => times === 1)).toBe(true);
    expect([...acknowledged].filter((payload) => !stored.has(payload))).toEqual([]);
    expect([...stored.keys()].filter((payload) => !acknowledged.has(payload) && !unknown.has(payload))).toEqual([]);
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
});
