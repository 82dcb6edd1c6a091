/** SIGTERM under load, and the start after it: nothing that was acknowledged is lost, nothing is done twice. On both profiles. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitFor } from "../world/wait-for.ts";
import { openWorld, type Profile, removeHome, type World } from "../world/world.ts";
import { sendNumbered } from "./events.ts";
import { applyExactPipeline, compare, describeExactness } from "./exactness.ts";
import type { E2eOptions, Outcome } from "./outcome.ts";

const DRAIN_MS = 90_000;

export async function drain(options: E2eOptions): Promise<Outcome> {
  const outcomes = [];
  for (const profile of ["solo", "cluster"] as const) outcomes.push(await restartUnderLoad(profile, { ...options, times: 2 }, "stop"));
  return { ok: outcomes.every(({ ok }) => ok), text: outcomes.map(({ text }) => text).join("\n\n") };
}

export type RestartOptions = Pick<E2eOptions, "ratePerSecond" | "progress"> & { readonly times: number };

/** `stop` asks, `kill` does not. */
export async function restartUnderLoad(profile: Profile, options: RestartOptions, how: "stop" | "kill"): Promise<Outcome> {
  const home = mkdtempSync(join(tmpdir(), "onedata-e2e-"));
  let world: World | undefined;
  try {
    world = await openWorld(profile, { home });
    const first = world;
    let current = first;
    const path = await applyExactPipeline(first);
    const events = sendNumbered(() => current, path, options.ratePerSecond);
    try {
      const stopMs: number[] = [];
      for (let i = 0; i < options.times; i++) {
        const before = events.acknowledged.size;
        await waitFor(
          "under way",
          async () => events.acknowledged.size - before,
          (count) => count > options.ratePerSecond * 2,
          30_000,
        );
        const atMs = performance.now();
        await (how === "stop" ? current.stop() : current.kill());
        stopMs.push(performance.now() - atMs);
        options.progress(
          `${profile}: ${how} ${i + 1} took ${Math.round(stopMs.at(-1) ?? 0)} ms; sent ${events.sent}, acknowledged ${events.acknowledged.size}`,
        );
        world = await openWorld(profile, { home });
        current = world;
      }
      await events.finish(DRAIN_MS);
      const found = await compare(current, events.acknowledged, DRAIN_MS);
      return {
        ok: found.isExact,
        text: `${profile}: ${how} under load, ${options.times} times (${stopMs.map((ms) => `${Math.round(ms)} ms`).join(", ")}), then started on the same folder\n${describeExactness(found)}`,
      };
    } finally {
      events.abandon();
    }
  } finally {
    await world?.[Symbol.asyncDispose]();
    removeHome(home);
  }
}
