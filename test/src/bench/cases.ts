/** The cases: what is sent into which world, and how it becomes figures. Each opens a world of its own and removes it. */
import { waitFor } from "../world/wait-for.ts";
import { openWorld, type World } from "../world/world.ts";
import type { BenchOptions, Case, CaseResult } from "./case.ts";
import { startChild } from "./child.ts";
import { fairness } from "./fairness.ts";
import { countWaiting, type Figures, readSettings, readSteps } from "./figures.ts";
import { type Measured, measure, SENDER, targetOf, within } from "./measure.ts";
import { cpuBetween, Meter, readMachine } from "./meter.ts";
import { applyPipelines, makeSinkTable } from "./pipelines.ts";
import type { Imported, SendOrder, Sent } from "./sender-protocol.ts";

export const CASES = {
  echo: { doc: "the ruler: a bare node:http server, closed loop", run: echo },
  singles: { doc: "closed loop: each connection sends when it was answered", run: (options) => singles(options, "singles") },
  "two-engines": {
    doc: "singles on the cluster with two engines",
    run: (options) => singles({ ...options, profile: "cluster" }, "two-engines", { ONEDATA_ENGINES: "2" }),
  },
  open: { doc: "open loop: 2,000 events/s, whatever the answers do, into one pipeline", run: (options) => open(options, 1) },
  "open-200": { doc: "the same over 200 pipelines", run: (options) => open(options, 200) },
  import: { doc: "NDJSON of --records records, streamed", run: importAll },
  fairness: { doc: "a tenant imports --records while another one sends 10/s; the import alone first", run: fairness },
  backlog: { doc: "500 events/s live beside a backlog of --records in another pipeline", run: backlog },
} as const satisfies Readonly<Record<string, Case>>;

export const OPEN_RATE = 2_000;
export const LIVE_RATE = 500;
/** So many that a slow answer holds up no event that is due. */
export const OPEN_CONNECTIONS = 256;

async function echo(options: BenchOptions): Promise<CaseResult> {
  await using server = startChild(new URL("./echo-server.ts", import.meta.url), []);
  const listening = await server.line();
  const port = typeof listening === "object" && listening !== null && "port" in listening ? Number(listening.port) : 0;
  // The token has the length of a real one: the request is as large.
  const target = { host: "127.0.0.1", port, token: "x".repeat(220) };
  const order: SendOrder = { ...pace(options), target, paths: ["/v1/pipelines/bench/events"], prefix: "e" };
  await using sender = startChild(SENDER, ["send", JSON.stringify(order)]);
  using meter = new Meter([
    { name: "echo", pid: server.pid },
    { name: "sender", pid: sender.pid },
  ]);
  await within(sender.line(), 60, "the sender did not start");
  const [before, machineBefore] = [meter.cpu(), readMachine()];
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what our own sender process prints
  const sent = (await within(sender.line(), options.seconds + 30, "the sender did not end")) as Sent;
  const [cpuUs, machineAfter] = [cpuBetween(before, meter.cpu()), readMachine()];
  const ourUs = [...cpuUs.values()].reduce((sum, us) => sum + us, 0);
  return {
    figures: {
      name: "echo",
      where: "node:http",
      shape: `closed, ${options.connections} conn`,
      acceptedPerSecond: sent.accepted / sent.seconds,
      acceptMs: sent.acceptMs,
      refused: sent.refused,
      cpuUs: Object.fromEntries([...cpuUs].map(([name, us]) => [name, us / sent.accepted])),
      rssMiB: Object.fromEntries(meter.rssMiB),
      othersBusy: Math.max(0, machineAfter.busyUs - machineBefore.busyUs - ourUs) / Math.max(1, machineAfter.allUs - machineBefore.allUs),
      notes: [],
    },
  };
}

async function singles(options: BenchOptions, name: string, env: Readonly<Record<string, string>> = {}): Promise<CaseResult> {
  await using world = await openWorld(options.profile, { env });
  await makeSinkTable(world);
  const paths = await applyPipelines(world, ["bench"], options.sink);
  const order: SendOrder = { ...pace(options), target: targetOf(world), paths, prefix: "s" };
  return await sendAndDescribe(world, options, { name, shape: `closed, ${options.connections} conn`, order, engines: env["ONEDATA_ENGINES"] });
}

async function open(options: BenchOptions, count: number): Promise<CaseResult> {
  await using world = await openWorld(options.profile);
  await makeSinkTable(world);
  const names = Array.from({ length: count }, (_, i) => `bench-${String(i).padStart(3, "0")}`);
  const paths = await applyPipelines(world, names, options.sink);
  const order: SendOrder = { ...pace(options), target: targetOf(world), connections: OPEN_CONNECTIONS, paths, prefix: "o", ratePerSecond: OPEN_RATE };
  return await sendAndDescribe(world, options, { name: count === 1 ? "open" : `open-${count}`, shape: `open ${OPEN_RATE}/s, ${count} pipe`, order });
}

type Described = { readonly name: string; readonly shape: string; readonly order: SendOrder; readonly engines?: string | undefined };

async function sendAndDescribe(world: World, options: BenchOptions, { name, shape, order, engines }: Described): Promise<CaseResult> {
  const measured = await measure<Sent>(world, options.profile, {
    order,
    mode: "send",
    pattern: "bench%",
    drainSeconds: 60,
    sendSeconds: options.seconds + 30,
  });
  const { sent } = measured;
  const notes = [`sink ${options.sink}; calls ${await readSteps(world.platform, "bench%")}`];
  if (sent.firstRefusal !== undefined) notes.push(`refused, e.g. ${sent.firstRefusal}`);
  if (sent.mostWaiting > 0) notes.push(`up to ${sent.mostWaiting} due events waited for a free connection (their wait is in the delays)`);
  return {
    figures: {
      name,
      where: engines === undefined ? options.profile : `${options.profile}, ${engines} engines`,
      shape,
      acceptedPerSecond: sent.accepted / sent.seconds,
      acceptMs: sent.acceptMs,
      refused: sent.refused,
      ...common(measured, measured.delivered?.events ?? sent.accepted),
      notes,
    },
    settings: await readSettings(world.platform),
  };
}

async function importAll(options: BenchOptions): Promise<CaseResult> {
  const { records } = options;
  await using world = await openWorld(options.profile);
  await makeSinkTable(world);
  await applyPipelines(world, ["bench"], options.sink);
  const measured = await measure<Imported>(world, options.profile, {
    order: { target: targetOf(world), path: "/v1/pipelines/bench/imports", prefix: "i", records },
    mode: "import",
    pattern: "bench%",
    drainSeconds: 60 + records / 2_000,
    sendSeconds: 60 + records / 2_000,
  });
  const { sent } = measured;
  if (sent.status !== 202) throw new Error(`the import was answered with ${sent.status}: ${sent.answer}`);
  return {
    figures: {
      name: "import",
      where: options.profile,
      shape: `NDJSON, ${records} rec`,
      acceptedPerSecond: records / sent.seconds,
      acceptMs: undefined,
      refused: 0,
      ...common(measured, records),
      notes: [
        `sink ${options.sink}; calls ${await readSteps(world.platform, "bench%")}`,
        ...[...measured.rssMiB]
          .filter(([name]) => name !== "sender")
          .map(([name, samples]) => `RSS of ${name} over the import, MiB: ${quarters(samples).join(" ")}`),
      ],
    },
    settings: await readSettings(world.platform),
  };
}

/** The backlog is imported while its pipeline is paused, then released, and stays longer than the live events are sent. */
async function backlog(options: BenchOptions): Promise<CaseResult> {
  const { records } = options;
  await using world = await openWorld(options.profile);
  await makeSinkTable(world);
  await applyPipelines(world, ["backlog"], options.sink);
  const paths = await applyPipelines(world, ["live"], options.sink);
  const demand = async (path: string): Promise<void> => {
    const answer = await world.api.send("POST", path, {});
    if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${answer.text}`);
  };
  await demand("/v1/pipelines/backlog:pause");
  {
    await using sender = startChild(SENDER, [
      "import",
      JSON.stringify({ target: targetOf(world), path: "/v1/pipelines/backlog/imports", prefix: "b", records }),
    ]);
    await within(sender.line(), 60, "the sender did not start");
    await within(sender.line(), 60 + records / 2_000, "the import did not end");
  }
  const filled = await waitFor(
    "filled",
    () => countWaiting(world.platform),
    (waiting) => waiting === records,
  );
  await demand("/v1/pipelines/backlog:resume");
  const order: SendOrder = { ...pace(options), target: targetOf(world), connections: OPEN_CONNECTIONS, paths, prefix: "l", ratePerSecond: LIVE_RATE };
  const measured = await measure<Sent>(world, options.profile, {
    order,
    mode: "send",
    pattern: "live",
    drainSeconds: 0,
    sendSeconds: options.seconds + 30,
  });
  const left = await countWaiting(world.platform);
  const { sent } = measured;
  const [row] = await world.platform<{ done: number }[]>`
    select coalesce(sum(length(replace(encode(r.verdicts, 'escape'), '\\000', ''))), 0)::int done from onedata.runs r
      join onedata.batches b on b.id = r.batch_id join onedata.pipelines p on p.id = b.pipeline_id
     where p.name = 'backlog' and r.ended_at between to_timestamp(${measured.fromMs / 1000}::float8) and to_timestamp(${measured.fromMs / 1000 + sent.seconds}::float8)`;
  const backlogDone = row?.done ?? 0;
  return {
    figures: {
      name: "backlog",
      where: options.profile,
      shape: `open ${LIVE_RATE}/s live`,
      acceptedPerSecond: sent.accepted / sent.seconds,
      acceptMs: sent.acceptMs,
      refused: sent.refused,
      ...common(measured, sent.accepted + backlogDone),
      notes: [
        `sink ${options.sink}; delays are those of the live events; us and WAL per event of both together`,
        `backlog ${filled} records, worked off at ${Math.round(backlogDone / sent.seconds)}/s beside the live ones, ${left} left at the end` +
          (left === 0 ? ": too few to stay for the whole time, take more --records" : ""),
      ],
    },
    settings: await readSettings(world.platform),
  };
}

export const pace = ({ connections, warmUpSeconds, seconds }: BenchOptions) => ({ connections, warmUpSeconds, seconds });

export function common(
  measured: Measured<unknown>,
  events: number,
): Pick<Figures, "delivered" | "cpuUs" | "walBytesPerEvent" | "rssMiB" | "othersBusy"> {
  return {
    ...(measured.delivered === undefined ? {} : { delivered: measured.delivered }),
    cpuUs: Object.fromEntries([...measured.cpuUs].map(([name, us]) => [name, us / events])),
    walBytesPerEvent: measured.walBytes / events,
    rssMiB: Object.fromEntries(measured.rssMiB),
    othersBusy: measured.othersBusy,
  };
}

const quarters = (samples: readonly number[]): number[] =>
  [0, 0.25, 0.5, 0.75, 1].map((share) => samples[Math.min(samples.length - 1, Math.floor(share * samples.length))] ?? 0);
