/** Nothing of OneData outlives the process that a person started, however that ends. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isRunning } from "@onedata/store";
import { expect, it } from "vitest";
import { waitFor } from "../world/wait-for.ts";
import { openWorld, type Profile, removeHome, type World } from "../world/world.ts";

const END_TIMEOUT_MS = 90_000;

/** All that belongs to it: its processes, the server, and what guards the server. */
const processesOf = (world: World): number[] => [
  world.pid,
  ...world.processes.map(({ pid }) => pid),
  ...(world.postgresPid === 0 ? [] : [world.postgresPid, Number(readFileSync(join(world.home, "postgres", "guard"), "utf8").split(" ")[0])]),
];

const allEnd = (pids: readonly number[]) =>
  waitFor(
    "ended",
    async () => pids.filter(isRunning),
    (left) => left.length === 0,
    END_TIMEOUT_MS,
  );

async function deliversOne(world: World): Promise<void> {
  const sent = await world.api.send("POST", "/v1/pipelines/orders/events", { id: 1, price: 2, quantity: 3 });
  expect(sent.status, sent.text).toBe(202);
  await waitFor(
    "delivered",
    () => world.api.get(`/v1/events/${String(sent.json.id)}`),
    ({ json }) => json.state === "done",
    60_000,
  );
}

it.each<Profile>([
  "solo",
  "cluster",
])("%s leaves nothing after kill -9, starts at once again at its port, and drains when its terminal is closed", async (profile) => {
  const first = await openWorld(profile);
  try {
    const killed = processesOf(first);
    expect(killed.every(isRunning)).toBe(true);
    await first.kill();
    await using second = await openWorld(profile, { home: first.home, env: { ONEDATA_PORT: new URL(first.url).port } });
    // The start has waited for them.
    await allEnd(killed);
    expect(second.url).toBe(first.url);
    await deliversOne(second);

    const closed = processesOf(second);
    expect(await second.hangUp()).toBe(0);
    await allEnd(closed);
    // A server that was stopped removes its file.
    expect(existsSync(join(second.home, "postgres", "pg", "postmaster.pid"))).toBe(false);
  } finally {
    removeHome(first.home);
  }
}, 600_000);

it("leaves nothing after kill -9, also when nobody starts it again", { timeout: 300_000 }, async () => {
  const world = await openWorld("solo");
  try {
    const pids = processesOf(world);
    await world.kill();
    await allEnd(pids);
  } finally {
    removeHome(world.home);
  }
});
