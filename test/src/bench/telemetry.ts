/**
 * What traces cost: the open loop with none, and with 1 %, 10 % and all of the requests sampled, each in a world of its own beside a receiver that throws
 * everything away. Three times in turn, because a machine changes over minutes; only CPU of one run of this is to be compared, the median of each.
 */
import { openWorld } from "../world/world.ts";
import type { BenchOptions, CaseResult } from "./case.ts";
import { common, OPEN_CONNECTIONS, OPEN_RATE, pace } from "./cases.ts";
import { startChild } from "./child.ts";
import { type Figures, readSettings, type Settings } from "./figures.ts";
import { measure, targetOf } from "./measure.ts";
import { applyPipelines, makeSinkTable } from "./pipelines.ts";
import type { SendOrder, Sent } from "./sender-protocol.ts";

const RATIOS = [undefined, 0.01, 0.1, 1] as const;
const ROUNDS = 3;

export async function telemetry(options: BenchOptions): Promise<CaseResult> {
  const figures: Figures[] = [];
  let settings: Settings | undefined;
  for (let round = 0; round < ROUNDS; round++) {
    for (const ratio of RATIOS) {
      const result = await open(options, ratio);
      figures.push(result.figures);
      settings ??= result.settings;
    }
  }
  const [first, ...others] = figures;
  if (first === undefined) throw new Error("nothing was measured");
  return { figures: [{ ...first, notes: [...first.notes, compare(figures)] }, ...others], ...(settings === undefined ? {} : { settings }) };
}

/** Sender apart: it does the same in each. */
function compare(figures: readonly Figures[]): string {
  const all = new Map<string, number[]>();
  for (const { shape, cpuUs } of figures) {
    const us = Object.entries(cpuUs).reduce((sum, [name, own]) => (name === "sender" ? sum : sum + own), 0);
    all.set(shape, [...(all.get(shape) ?? []), us]);
  }
  const medians = [...all].map(([shape, us]) => [shape, us.sort((x, y) => x - y)[Math.floor(us.length / 2)] ?? 0] as const);
  const none = medians[0]?.[1] ?? 1;
  return `CPU per event, sender apart, median of ${ROUNDS}: ${medians.map(([shape, us]) => `${shape} ${us.toFixed(0)} us (${(us / none).toFixed(2)})`).join(", ")}`;
}

async function open(options: BenchOptions, ratio: number | undefined): Promise<{ readonly figures: Figures; readonly settings: Settings }> {
  const what = ratio === undefined ? "no traces" : `${ratio * 100} % sampled`;
  process.stderr.write(`  ${what} ...\n`);
  await using receiver = startChild(new URL("./otlp-sink.ts", import.meta.url), []);
  const listening = await receiver.line();
  const url = `http://127.0.0.1:${typeof listening === "object" && listening !== null && "port" in listening ? String(listening.port) : ""}`;
  await using world = await openWorld(options.profile, { env: ratio === undefined ? {} : { ONEDATA_OTLP: url, ONEDATA_TRACE_RATIO: String(ratio) } });
  await makeSinkTable(world);
  const paths = await applyPipelines(world, ["bench"], options.sink);
  const order: SendOrder = { ...pace(options), target: targetOf(world), connections: OPEN_CONNECTIONS, paths, prefix: "o", ratePerSecond: OPEN_RATE };
  const before = await readReceived(url);
  const measured = await measure<Sent>(world, options.profile, {
    order,
    mode: "send",
    pattern: "bench%",
    drainSeconds: 60,
    sendSeconds: options.seconds + 30,
  });
  const after = await readReceived(url);
  const { sent } = measured;
  const events = measured.delivered?.events ?? sent.accepted;
  return {
    figures: {
      name: "telemetry",
      where: options.profile,
      shape: what,
      acceptedPerSecond: sent.accepted / sent.seconds,
      acceptMs: sent.acceptMs,
      refused: sent.refused,
      ...common(measured, events),
      notes:
        ratio === undefined
          ? []
          : [`about ${Math.round((after.bytes - before.bytes) / events)} bytes exported per event with ${what}, warm-up included`],
    },
    settings: await readSettings(world.platform),
  };
}

async function readReceived(url: string): Promise<{ readonly requests: number; readonly bytes: number }> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what our own receiver answers
  return (await (await fetch(url)).json()) as { requests: number; bytes: number };
}
