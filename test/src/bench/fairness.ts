/**
 * Fairness between tenants: A imports as fast as it can, B sends ten events a second. B's delay end to end through the whole time, and A's speed beside B by its
 * speed alone, both on the same world, the import alone first.
 *
 * What is promised: B's p99 below 250 ms, A at least 80 % of its speed alone. A's speed is that of its records worked off, from the first byte of the upload
 * to the last verdict.
 */
import { waitFor } from "../world/wait-for.ts";
import { openWorld, type World } from "../world/world.ts";
import type { BenchOptions, CaseResult } from "./case.ts";
import { startChild } from "./child.ts";
import { countWaiting, readDelivered, readSettings } from "./figures.ts";
import { SENDER, targetOf, watchedOf, within } from "./measure.ts";
import { cpuBetween, Meter, readMachine } from "./meter.ts";
import { applyPipelines, makeSinkTable } from "./pipelines.ts";
import { nowMs, type Target } from "./request-template.ts";
import type { Imported, Percentiles, SendOrder, Sent } from "./sender-protocol.ts";

const RATE = 10;
const GOAL_P99_MS = 250;
const GOAL_SHARE = 0.8;
/** B begins before A does and ends after it. */
const LEAD_SECONDS = 3;

export async function fairness(options: BenchOptions): Promise<CaseResult> {
  const { records } = options;
  await using world = await openWorld(options.profile);
  await makeSinkTable(world);
  // B is the first client's tenant; A is one of its own, with a sink that needs no connection of B's.
  const target = await openTenant(world, "a");
  await applyPipelines(world, ["live"], options.sink);
  const alone = await importAndDrain(world, target, { prefix: "a", records });

  const seconds = LEAD_SECONDS * 2 + (1.5 * alone.ms) / 1000;
  const order: SendOrder = {
    target: targetOf(world),
    paths: ["/v1/pipelines/live/events"],
    prefix: "b",
    connections: 16,
    ratePerSecond: RATE,
    warmUpSeconds: LEAD_SECONDS,
    seconds,
  };
  await using live = startChild(SENDER, ["send", JSON.stringify(order)]);
  using meter = new Meter([...watchedOf(world, options.profile), { name: "sender", pid: live.pid }]);
  await within(live.line(), 60, "B's sender did not start");
  const [fromMs, cpuBefore, machineBefore] = [nowMs(), meter.cpu(), readMachine()];
  const beside = await importAndDrain(world, target, { prefix: "c", records });
  const [cpuUs, machineAfter] = [cpuBetween(cpuBefore, meter.cpu()), readMachine()];
  const untilMs = nowMs();
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what our own sender process prints
  const sent = (await within(live.line(), seconds + 60, "B's sender did not end")) as Sent;
  await waitFor(
    "worked off",
    () => countWaiting(world.platform),
    (waiting) => waiting === 0,
    60_000,
  );
  const delivered = await readDelivered(world.platform, "live", fromMs);
  const during = await readDelays(world, fromMs, untilMs);
  const share = alone.ms / beside.ms;
  const ourUs = [...cpuUs.values()].reduce((sum, us) => sum + us, 0);
  const met = (isMet: boolean): string => (isMet ? "met" : "NOT met");
  return {
    figures: {
      name: "fairness",
      where: options.profile,
      shape: `B ${RATE}/s beside A's ${records} rec`,
      acceptedPerSecond: sent.accepted / sent.seconds,
      acceptMs: sent.acceptMs,
      refused: sent.refused,
      ...(delivered === undefined ? {} : { delivered }),
      cpuUs: Object.fromEntries([...cpuUs].map(([name, us]) => [name, us / records])),
      rssMiB: Object.fromEntries(meter.rssMiB),
      othersBusy: Math.max(0, machineAfter.busyUs - machineBefore.busyUs - ourUs) / Math.max(1, machineAfter.allUs - machineBefore.allUs),
      notes: [
        `B while A imports and is worked off (${during.n} events): p50 ${Math.round(during.p50)} ms, p99 ${Math.round(during.p99)} ms, max ${Math.round(during.max)} ms; goal p99 < ${GOAL_P99_MS} ms: ${met(during.p99 < GOAL_P99_MS)}`,
        `A: ${speed(records, alone.ms)}/s alone, ${speed(records, beside.ms)}/s beside B = ${Math.round(100 * share)} %; goal ${100 * GOAL_SHARE} %: ${met(share >= GOAL_SHARE)}; upload ${speed(records, beside.uploadMs)}/s`,
        "us/event are those of A's records, everything included; A writes to onedata.outputs",
      ],
    },
    settings: await readSettings(world.platform),
  };
}

const speed = (records: number, ms: number): string => Math.round((1000 * records) / ms).toLocaleString("en");

/** A tenant with a client and a pipeline `bulk` of the same steps. */
async function openTenant(world: World, name: string): Promise<Target> {
  const scopes = ["events:read", "events:write", "pipelines:read", "pipelines:write"];
  const demand = (answer: { status: number; text: string; json: unknown }): unknown => {
    if (answer.status !== 200) throw new Error(`tenant ${name}: ${answer.status} ${answer.text}`);
    return answer.json;
  };
  demand(await world.api.send("POST", "/v1/tenants", { name }));
  const client = demand(await world.api.send("POST", "/v1/clients", { name, tenant: name, scopes }));
  if (!isClient(client)) throw new Error(`tenant ${name}: no client in the answer`);
  const api = await world.api.as(client, scopes.join(" "));
  await applyPipelines({ api }, ["bulk"], "onedata.outputs");
  return { ...targetOf(world), token: api.token };
}

const isClient = (value: unknown): value is { clientId: string; clientSecret: string } =>
  typeof value === "object" && value !== null && "clientId" in value && "clientSecret" in value;

/** Milliseconds of the upload, and until nothing of A waits any more. */
async function importAndDrain(
  world: World,
  target: Target,
  { prefix, records }: { prefix: string; records: number },
): Promise<{ ms: number; uploadMs: number }> {
  const patience = 60 + records / 1_000;
  await using sender = startChild(SENDER, ["import", JSON.stringify({ target, path: "/v1/pipelines/bulk/imports", prefix, records })]);
  await within(sender.line(), 60, "A's sender did not start");
  const fromMs = nowMs();
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what our own sender process prints
  const sent = (await within(sender.line(), patience, "A's import did not end")) as Imported;
  if (sent.status !== 202) throw new Error(`A's import was answered with ${sent.status}: ${sent.answer}`);
  const uploadMs = nowMs() - fromMs;
  await waitFor(
    "A worked off",
    async () =>
      (
        await world.platform<{ n: number }[]>`
          select count(*)::int as n from onedata.queue q join onedata.lanes l on l.id = q.lane_id join onedata.pipelines p on p.id = l.pipeline_id where p.name = 'bulk'`
      )[0]?.n,
    (n) => n === 0,
    patience * 1000,
  );
  return { ms: nowMs() - fromMs, uploadMs };
}

/** Of B's events that were due between the two moments: from due to their verdict. */
async function readDelays(world: World, fromMs: number, untilMs: number): Promise<Percentiles & { readonly n: number }> {
  const [row] = await world.platform<{ n: number; p50: number; p99: number; max: number }[]>`
    with done as (
      select r.batch_id, max(r.ended_at) ended_at from onedata.runs r join onedata.batches b on b.id = r.batch_id join onedata.pipelines p on p.id = b.pipeline_id
       where r.batch_id >= onedata.id_at(to_timestamp(${fromMs / 1000}::float8)) and p.name = 'live' group by 1),
    delays as (
      select substring(e.payload from '"sent":([0-9.]+)')::float8 due, extract(epoch from d.ended_at)::float8 * 1000 ended from done d join onedata.events e on e.batch_id = d.batch_id)
    select count(*)::int n, percentile_disc(0.5) within group (order by ended - due) p50, percentile_disc(0.99) within group (order by ended - due) p99, max(ended - due) max
      from delays where due between ${fromMs} and ${untilMs}`;
  if (row === undefined || row.n === 0) throw new Error("none of B's events has a verdict");
  return row;
}
