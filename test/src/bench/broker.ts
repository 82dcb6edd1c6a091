/**
 * What a broker carries and what it costs, on the cluster profile.
 * 1. --records messages of one pointer each, published, received and settled (`libs/broker/bench/carry.ts`; the product packs up to 256 pointers into one).
 * 2. --records events end to end: import, relay, broker, engine, Postgres sink; drained, with counts from SQL.
 * 3. Single events at two rates with no broker and with each: CPU per event and delays, side by side.
 * NATS runs when nats-server is here, KubeMQ when KUBEMQ_SERVER names its program or KUBEMQ_ADDRESS a server that runs, its double only when asked for: it stands for the client's side alone.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import { type ChannelDepth, openBroker } from "@onedata/broker";
import { channelOf } from "@onedata/engine";
import { type BrokerKind, openBrokerServer, whyNot } from "../world/broker-server.ts";
import { openWorld, type World } from "../world/world.ts";
import type { BenchOptions, CaseResult } from "./case.ts";
import { common, LIVE_RATE, OPEN_CONNECTIONS, OPEN_RATE, pace } from "./cases.ts";
import { type Figures, readSettings, readSteps, type Settings } from "./figures.ts";
import { measure, targetOf } from "./measure.ts";
import type { Watched } from "./meter.ts";
import { applyPipelines, makeSinkTable } from "./pipelines.ts";
import type { Imported, SendOrder, Sent } from "./sender-protocol.ts";

/** A broker to measure; `pid` is absent where the process is not ours. */
type Leg = { readonly name: string; readonly url: string; readonly pid?: number };

const REAL_KUBEMQ = process.env["KUBEMQ_ADDRESS"];

export async function broker(options: BenchOptions): Promise<CaseResult> {
  const notes = await carry(options);
  const figures: Figures[] = [];
  let settings: Settings | undefined;
  for (const name of legNames(options)) {
    await using leg = await openLeg(name);
    for (const ratePerSecond of [LIVE_RATE, OPEN_RATE]) {
      const result = await singles(options, leg, ratePerSecond);
      figures.push(result.figures);
      settings ??= result.settings;
    }
    if (name !== "none") figures.push(await drain(options, leg));
  }
  const [first, ...others] = figures;
  if (first === undefined) throw new Error("nothing was measured");
  return { figures: [{ ...first, notes: [...notes, ...first.notes] }, ...others], ...(settings === undefined ? {} : { settings }) };
}

type LegName = "none" | BrokerKind;

function legNames({ withDouble }: BenchOptions): readonly LegName[] {
  return [
    "none",
    ...(whyNot("nats") === undefined ? (["nats"] as const) : []),
    ...(withDouble ? (["kubemq double"] as const) : []),
    ...(whyNot("kubemq") !== undefined && REAL_KUBEMQ === undefined ? [] : (["kubemq"] as const)),
  ];
}

async function openLeg(name: LegName): Promise<Leg & AsyncDisposable> {
  if (name === "none") return { name, url: "none:", [Symbol.asyncDispose]: () => Promise.resolve() };
  if (name === "kubemq" && whyNot(name) !== undefined)
    return { name, url: `kubemq://${REAL_KUBEMQ ?? ""}`, [Symbol.asyncDispose]: () => Promise.resolve() };
  const server = await openBrokerServer(name);
  return { name, url: server.url, pid: server.pid, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

/** Its lines, one per broker. What was skipped says so. */
async function carry({ records, withDouble }: BenchOptions): Promise<readonly string[]> {
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
  const script = fileURLToPath(new URL("../../../libs/broker/bench/carry.ts", import.meta.url));
  const on = withDouble ? "nats,double,kubemq" : "nats,kubemq";
  const child = spawn(process.execPath, ["--conditions=source", "--import", tsx, script, "--messages", String(records), "--on", on], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
    process.stderr.write(`  ${text}`);
  });
  const [code] = await once(child, "exit");
  if (code !== 0) throw new Error(`${script} ended with ${String(code)}`);
  return output.trim().split("\n");
}

const besideOf = ({ name, pid }: Leg): readonly Watched[] => (pid === undefined ? [] : [{ name, pid }]);

async function singles(options: BenchOptions, leg: Leg, ratePerSecond: number): Promise<{ readonly figures: Figures; readonly settings: Settings }> {
  process.stderr.write(`  ${leg.name}: ${ratePerSecond} events/s ...\n`);
  await using world = await openWorld("cluster", { env: { ONEDATA_BROKER: leg.url } });
  await makeSinkTable(world);
  const paths = await applyPipelines(world, ["bench"], options.sink);
  const order: SendOrder = { ...pace(options), target: targetOf(world), connections: OPEN_CONNECTIONS, paths, prefix: "o", ratePerSecond };
  const measured = await measure<Sent>(world, "cluster", {
    order,
    mode: "send",
    pattern: "bench%",
    drainSeconds: 60,
    sendSeconds: options.seconds + 30,
    beside: besideOf(leg),
  });
  const { sent } = measured;
  return {
    figures: {
      name: "broker",
      where: leg.name,
      shape: `open ${ratePerSecond}/s, 1 pipe`,
      acceptedPerSecond: sent.accepted / sent.seconds,
      acceptMs: sent.acceptMs,
      refused: sent.refused,
      ...common(measured, measured.delivered?.events ?? sent.accepted),
      notes: [`${leg.name}, ${ratePerSecond}/s: runs by what woke them: ${await readWoken(world)}`],
    },
    settings: await readSettings(world.platform),
  };
}

async function drain(options: BenchOptions, leg: Leg): Promise<Figures> {
  const { records } = options;
  process.stderr.write(`  ${leg.name}: ${records} events end to end ...\n`);
  await using world = await openWorld("cluster", { env: { ONEDATA_BROKER: leg.url } });
  await makeSinkTable(world);
  await applyPipelines(world, ["bench"], options.sink);
  const before = await readDepth(world, leg);
  const measured = await measure<Imported>(world, "cluster", {
    order: { target: targetOf(world), path: "/v1/pipelines/bench/imports", prefix: "i", records },
    mode: "import",
    pattern: "bench%",
    drainSeconds: 60 + records / 1_000,
    sendSeconds: 60 + records / 1_000,
    beside: besideOf(leg),
  });
  const { sent } = measured;
  if (sent.status !== 202) throw new Error(`the import was answered with ${sent.status}: ${sent.answer}`);
  return {
    name: "broker",
    where: leg.name,
    shape: `NDJSON, ${records} rec`,
    acceptedPerSecond: records / sent.seconds,
    acceptMs: undefined,
    refused: 0,
    ...common(measured, records),
    notes: [
      `${leg.name}, ${records} events drained: ${await readCounts(world)}; ${await describeCarried(world, leg, before)}; runs by what woke them: ${await readWoken(world)}; calls ${await readSteps(world.platform, "bench%")}`,
    ],
  };
}

async function readWoken(world: World): Promise<string> {
  const rows = await world.platform<
    { by: string; n: number }[]
  >`select woken_by as by, count(distinct run_id)::int as n from onedata.runs group by 1 order by 2 desc`;
  return rows.map(({ by, n }) => `${by} ${n}`).join(", ");
}

async function readCounts(world: World): Promise<string> {
  const [counts] = await world.platform<{ captured: number; delivered: number; queued: number; dead: number }[]>`
    select (select coalesce(sum(n), 0)::int from onedata.batches) as captured, (select coalesce(sum(n), 0)::int from onedata.queue) as queued,
           (select count(*)::int from onedata.dead_letters) as dead,
           (select coalesce(sum(length(replace(encode(verdicts, 'escape'), '\\000', ''))), 0)::int from onedata.runs) as delivered`;
  const [sink] = await world.warehouse.unsafe<{ rows: number }[]>("select count(*)::int as rows from bench_sink");
  return `captured ${counts?.captured}, verdicts ${counts?.delivered}, rows in the sink ${sink?.rows}, queue ${counts?.queued}, dead ${counts?.dead}`;
}

/** NATS numbers a stream, not a channel: what other worlds sent before is taken off. */
async function describeCarried(world: World, leg: Leg, before: ChannelDepth | undefined): Promise<string> {
  const after = await readDepth(world, leg);
  return `messages carried ${(after?.lastSequence ?? 0) - (before?.lastSequence ?? 0)}, left ${after?.waiting ?? 0}`;
}

async function readDepth(world: World, leg: Leg): Promise<ChannelDepth | undefined> {
  const [row] = await world.platform<{ value: string }[]>`select value from onedata.installation where name = 'id'`;
  await using carrier = await openBroker(leg.url);
  return await carrier?.depth(channelOf(row?.value ?? ""));
}
