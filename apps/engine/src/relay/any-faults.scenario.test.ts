/** Whatever the broker does, every event ends in exactly one verdict: schedules of faults at the double, real gRPC and a real Postgres, two engines. */
import { type Fault, type KubemqDouble, openKubemqDouble } from "@onedata/broker/testing";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type BrokerWorld, openBrokerWorld } from "./broker-world.ts";

type Step =
  | { readonly do: "captureInOrder"; readonly keys: readonly string[] }
  | { readonly do: "capture"; readonly events: number }
  | { readonly do: "fault"; readonly fault: Fault }
  | { readonly do: "restart"; readonly keepData: boolean; readonly loseLast: number }
  | { readonly do: "outage"; readonly ms: number; readonly frozen: boolean; readonly keepData: boolean }
  | { readonly do: "pass"; readonly ms: number };

const SENDS = ["SendQueueMessagesBatch"] as const;
const ALL = ["Ping", "SendQueueMessagesBatch", "QueuesInfo", "Get", "AckAll", "ActiveOffsets", "CloseByClient"] as const;
const fault: fc.Arbitrary<Fault> = fc.oneof(
  fc.record({
    at: fc.constantFrom(...ALL),
    kind: fc.constantFrom("dropBefore" as const, "dropReply" as const, "hang" as const, "hangAfter" as const, "delay" as const),
    times: fc.integer({ min: 1, max: 4 }),
    delayMs: fc.integer({ min: 1, max: 300 }),
  }),
  fc.record({
    at: fc.constantFrom(...SENDS),
    kind: fc.constantFrom("errorItem" as const, "duplicate" as const, "reorder" as const),
    times: fc.integer({ min: 1, max: 4 }),
    n: fc.integer({ min: 0, max: 2 }),
  }),
);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant("capture" as const), events: fc.integer({ min: 1, max: 6 }) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("captureInOrder" as const),
      keys: fc.array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 4 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("fault" as const), fault }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("restart" as const), keepData: fc.boolean(), loseLast: fc.integer({ min: 0, max: 3 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("outage" as const), ms: fc.integer({ min: 1, max: 400 }), frozen: fc.boolean(), keepData: fc.boolean() }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("pass" as const), ms: fc.integer({ min: 1, max: 400 }) }) },
);

const RUNS = 20;
const DRAIN_MS = 30_000;

let world: BrokerWorld;
beforeAll(async () => {
  world = await openBrokerWorld();
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
});

const pass = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function perform(each: Step, server: KubemqDouble): Promise<number> {
  switch (each.do) {
    case "capture":
      await world.capture(each.events);
      return each.events;
    case "captureInOrder":
      for (const key of each.keys) await world.captureInOrder(key);
      return each.keys.length;
    case "fault":
      server.faults.add(each.fault);
      return 0;
    case "restart":
      await server.restart({ keepData: each.keepData, loseLast: each.loseLast });
      return 0;
    case "outage":
      if (each.frozen) server.freeze();
      else await server.stop();
      await pass(each.ms);
      if (each.frozen) server.thaw();
      else await server.start({ keepData: each.keepData });
      return 0;
    case "pass":
      await pass(each.ms);
      return 0;
  }
}

async function drain(): Promise<void> {
  for (const deadline = performance.now() + DRAIN_MS; (await world.waiting()) > 0; await pass(10)) {
    if (performance.now() > deadline)
      throw new Error(`${await world.waiting()} events are still without a verdict\n${world.warnings.slice(-5).join("\n")}`);
  }
}

/** Final verdicts per event over all attempts: how many events have how many. */
const countVerdicts = async (): Promise<Readonly<Record<string, number>>> => {
  const rows = await world.store.sql<{ verdicts: number; events: number }[]>`
    select verdicts, count(*)::int as events from (
      select (select count(*)::int from onedata.runs r where r.batch_id = e.batch_id and get_byte(r.verdicts, e.n) <> 0) as verdicts from onedata.events e) z group by 1`;
  return Object.fromEntries(rows.map(({ verdicts, events }) => [verdicts, events]));
};

/** Pairs of batches of one ordered lane whose later one was not after the earlier one: a run may hold both, and does them in order. */
const countOvertakings = async (): Promise<number> => {
  const [row] = await world.store.sql<{ n: number }[]>`
    with done as (
      select b.lane_id, b.seq, r.run_id, r.ended_at from onedata.batches b join onedata.lanes l on l.id = b.lane_id and l.ordered join onedata.runs r on r.batch_id = b.id)
    select count(*)::int as n from done x join done y on y.lane_id = x.lane_id and y.seq > x.seq and y.run_id <> x.run_id and y.ended_at < x.ended_at`;
  return row?.n ?? -1;
};

it("gives every event exactly one verdict, and keys their order, after any schedule of faults", { timeout: 600_000 }, async () => {
  const seed = Date.now() % 1_000_000_000;
  console.info(`seed ${seed}, ${RUNS} schedules`);
  const woken: Record<string, number> = {};
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 6, maxLength: 20 }), async (steps) => {
      await world.store.sql`truncate onedata.queue, onedata.batches, onedata.events, onedata.runs, onedata.outputs`;
      await using server = await openKubemqDouble();
      const relay = { watchMs: 100, graceMs: 100, publishTimeoutMs: 500 };
      await using first = await world.startEngine(server.url, { relay, pollBesideBrokerMs: 500 });
      await using second = await world.startEngine(server.url, { relay, pollBesideBrokerMs: 500 });
      while (first.brokerState !== "up" || second.brokerState !== "up") await pass(5);
      let captured = 0;
      for (const each of steps) captured += await perform(each, server);
      server.faults.clear();
      await drain();
      expect(await countVerdicts()).toEqual(captured === 0 ? {} : { 1: captured });
      expect(await countOvertakings()).toBe(0);
      for (const [by, runs] of Object.entries(await world.wokenBy())) woken[by] = (woken[by] ?? 0) + runs;
    }),
    { seed, numRuns: RUNS, endOnFailure: true, interruptAfterTimeLimit: 500_000 },
  );
  // A test that never met the broker would show nothing.
  expect(woken["broker"] ?? 0).toBeGreaterThan(0);
  console.info(`runs by what woke them: ${JSON.stringify(woken)}`);
});
