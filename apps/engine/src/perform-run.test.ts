/** What a long run and a run that was taken over do, step by step: the clock of the engine is the test's. */
import { randomUUID } from "node:crypto";
import { registerEngine } from "@onedata/store";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { createTestService, type EngineWorld, openEngineWorld, planOf, step, until } from "./engine-world.ts";
import { createPerformer } from "./perform-world.ts";

const DEADLINE_MS = 600_000;
const engine = randomUUID();
let world: EngineWorld;
beforeAll(async () => {
  world = await openEngineWorld();
  await registerEngine(world.store, { incarnation: engine, slots: 1, leaseMs: 3_600_000 });
});
afterAll(() => world[Symbol.asyncDispose]());
beforeEach(async () => void (await world.store.sql`truncate onedata.queue`));

const LOAD_SINK = { id: "table", kind: "x", service: "load", config: {}, configHash: "h", inputs: [1] };
const twoCalls = planOf({ stages: [step("a"), { ...step("b"), inputs: [0] }], sinks: [LOAD_SINK], route: "transform>transform>load" });
const minutesLeft = async (): Promise<number> =>
  (await world.store.sql<{ left: number }[]>`select extract(epoch from run_deadline - clock_timestamp())::float8 / 60 as left from onedata.queue`)[0]
    ?.left ?? 0;

/** `touched` resolves in the second call, when the engine knows what came of moving the deadline after the first. */
function arrange() {
  const clock = { nowMs: 0 };
  let points = 0;
  let atFirst = 0;
  const service = createTestService({ record: () => undefined });
  const point = async (): Promise<void> => void (points += 1);
  const options = { engine, clients: service.clients, deadlineMs: DEADLINE_MS, monotonicMs: () => clock.nowMs, point };
  return {
    service,
    clock,
    performer: createPerformer(world.store, options),
    first: () => void (atFirst = points),
    // The end of the first call, the statement (sent and answered), the begin of the second call.
    touched: () => until("the deadline's move is answered", () => points >= atFirst + 4),
  };
}

it("a run's deadline moves on after a call, in the database and in its engine: calls that take longer in sum lose nothing", async () => {
  const { service, performer, clock, first, touched } = arrange();
  const pipeline = await world.pipeline({ plan: twoCalls });
  await pipeline.capture([1]);
  service.rules.apply = async () => {
    clock.nowMs += (DEADLINE_MS * 2) / 3;
    if (service.calls.apply === 1) {
      first();
      await world.store.sql`update onedata.queue set run_deadline = clock_timestamp() + interval '3 minutes'`;
      return;
    }
    await touched();
    // Most of ten minutes again, not the three that were left.
    expect(await minutesLeft()).toBeGreaterThan(5);
    expect(performer.openRuns.giveUpOverdue()).toBe(0);
  };
  await performer.perform();
  expect(service.calls.apply).toBe(2);
  expect(clock.nowMs).toBeGreaterThan(DEADLINE_MS);
  expect(service.written).toEqual([1]);
  expect(await pipeline.waiting()).toBe(0);
});

it("a run that another engine has taken over writes nothing more, though its own lease is fresh", async () => {
  const { service, performer, clock, first, touched } = arrange();
  const pipeline = await world.pipeline({ plan: twoCalls });
  await pipeline.capture([1]);
  const successor = randomUUID();
  service.rules.apply = async () => {
    clock.nowMs += DEADLINE_MS / 3;
    if (service.calls.apply === 1) {
      first();
      await world.store.sql`update onedata.queue set run_id = ${successor}, owner = ${successor}, attempt = attempt + 1`;
    } else await touched();
  };
  await performer.perform();
  expect(service.calls).toEqual({ apply: 2, write: 0 });
  expect(service.written).toEqual([]);
  expect(await world.store.sql`select run_id, attempt from onedata.queue`).toEqual([{ run_id: successor, attempt: 2 }]);
});
