/** A broker carries the pointers, dies, comes back and forgets: events do not notice. `npm run e2e -- broker` does the same at length, under load, on the cluster. */
import { openKubemqDoubleProcess } from "@onedata/broker/testing";
import { describe, expect, it } from "vitest";
import { BROKER_KINDS, openBrokerServer, whyNot } from "../world/broker-server.ts";
import { waitFor } from "../world/wait-for.ts";
import { openWorld, type World } from "../world/world.ts";

const readState = async (world: World): Promise<string> =>
  (await world.platform<{ state: string | null }[]>`select broker_state as state from onedata.engines order by started_at desc limit 1`)[0]?.state ??
  "";
const untilUp = (world: World) =>
  waitFor(
    "up",
    () => readState(world),
    (state) => state === "up",
    60_000,
  );
const untilDown = (world: World) =>
  waitFor(
    "down",
    () => readState(world),
    (state) => state.startsWith("down: "),
    60_000,
  );

async function applyPipeline(world: World): Promise<void> {
  const answer = await world.api.send("PUT", "/v1/pipelines/b", {
    name: "b",
    steps: [{ id: "a", use: "record.map", with: { set: { twice: "n * 2" } } }],
    sinks: [{ use: "onedata.outputs" }],
  });
  expect(answer.status, answer.text).toBe(200);
}

/** Sends one after the other, each onto an idle queue; answers how many runs were woken by what. */
async function sendSingly(world: World, count: number): Promise<Readonly<Record<string, number>>> {
  await world.platform`truncate onedata.runs`;
  for (let n = 0; n < count; n++) {
    const answer = await world.api.send("POST", "/v1/pipelines/b/events", { n }, { prefer: "wait=10" });
    expect(answer.json?.verdict, answer.text).toBe("delivered");
    // Longer than an engine looks again after a run.
    await new Promise((resolve) => setTimeout(resolve, 60));
  }
  const rows = await world.platform<{ by: string; n: number }[]>`select woken_by as by, count(*)::int as n from onedata.runs group by 1`;
  return Object.fromEntries(rows.map(({ by, n }) => [by, n]));
}

describe.each(BROKER_KINDS)("with %s as broker", (kind) => {
  const why = whyNot(kind);
  if (why !== undefined) console.warn(why);

  it.skipIf(why !== undefined)(
    "events go on when it dies, and use it again when it is back, with or without what it knew",
    { timeout: 300_000 },
    async () => {
      await using server = await openBrokerServer(kind);
      await using world = await openWorld("solo", { env: { ONEDATA_BROKER: server.url } });
      await applyPipeline(world);
      await untilUp(world);
      const { broker = 0, ...others } = await sendSingly(world, 20);
      expect(broker, JSON.stringify(others)).toBeGreaterThanOrEqual(16);

      await server.kill();
      await untilDown(world);
      expect((await sendSingly(world, 5))["broker"]).toBeUndefined();

      await server.start();
      await untilUp(world);
      await waitFor(
        "woken by it",
        () => sendSingly(world, 5),
        (woken) => (woken["broker"] ?? 0) >= 4,
        60_000,
      );

      await server.wipe();
      await untilUp(world);
      await waitFor(
        "woken by it",
        () => sendSingly(world, 5),
        (woken) => (woken["broker"] ?? 0) >= 4,
        60_000,
      );
    },
  );
});

it("does every event once when messages are doubled and out of order", { timeout: 300_000 }, async () => {
  await using server = await openKubemqDoubleProcess();
  await using world = await openWorld("solo", { env: { ONEDATA_BROKER: server.url } });
  await applyPipeline(world);
  await untilUp(world);
  server.addFault({ at: "SendQueueMessagesBatch", kind: "duplicate", times: 1_000 });
  server.addFault({ at: "SendQueueMessagesBatch", kind: "reorder", times: 1_000 });
  await Promise.all(Array.from({ length: 200 }, (_, n) => world.api.send("POST", "/v1/pipelines/b/events", { n })));
  const count = async () => {
    const [row] = await world.platform<{ left: number; outputs: number; again: number }[]>`
      select (select count(*)::int from onedata.queue) as left, (select coalesce(sum(cardinality(ordinals)), 0)::int from onedata.outputs) as outputs,
             (select count(*)::int from onedata.runs where attempt > 1) as again`;
    return row ?? { left: -1, outputs: 0, again: 0 };
  };
  expect(await waitFor("done", count, ({ left }) => left === 0)).toEqual({ left: 0, outputs: 200, again: 0 });
});
