/**
 * One measurement: a sender against a world, from the end of its warm-up until everything it sent has a verdict.
 * CPU, WAL and memory count over that whole time and are divided by the events of that time.
 */
import { waitFor } from "../world/wait-for.ts";
import type { Profile, World } from "../world/world.ts";
import { startChild } from "./child.ts";
import { countWaiting, type Delivered, readDelivered, readWalBytes } from "./figures.ts";
import { type CpuUs, cpuBetween, Meter, readMachine, type Watched } from "./meter.ts";
import { nowMs, type Target } from "./request-template.ts";
import type { ImportOrder, SendOrder } from "./sender-protocol.ts";

export const SENDER = new URL("./sender.ts", import.meta.url);

export type Measured<T> = {
  readonly sent: T;
  readonly fromMs: number;
  readonly delivered: Delivered | undefined;
  /** Events with a verdict, or accepted when none is waited for. */
  readonly cpuUs: CpuUs;
  readonly walBytes: number;
  readonly rssMiB: ReadonlyMap<string, readonly number[]>;
  readonly othersBusy: number;
};

export type MeasureOptions = {
  readonly order: SendOrder | ImportOrder;
  readonly mode: "send" | "import";
  /** Whose events count; SQL pattern of pipeline names. */
  readonly pattern: string;
  /** How long what was accepted may take to get a verdict; 0 = it is not waited for. */
  readonly drainSeconds: number;
  readonly sendSeconds: number;
  /** Processes beside the world's, e.g. a broker. */
  readonly beside?: readonly Watched[];
};

export function watchedOf(world: World, profile: Profile): Watched[] {
  const own = profile === "solo" ? [{ name: "solo", pid: world.pid }] : world.processes;
  return [...own, { name: "postgres", pid: world.postgresPid, withChildren: true }];
}

export const targetOf = (world: World): Target => ({ host: "127.0.0.1", port: Number(new URL(world.url).port), token: world.api.token });

/** Throws when the sender does not end in time or what was accepted is not worked off. */
export async function measure<T>(world: World, profile: Profile, options: MeasureOptions): Promise<Measured<T>> {
  await using sender = startChild(SENDER, [options.mode, JSON.stringify(options.order)]);
  using meter = new Meter([...watchedOf(world, profile), ...(options.beside ?? []), { name: "sender", pid: sender.pid }]);
  await within(sender.line(), 60, "the sender did not start");
  const [fromMs, cpuBefore, walBefore, machineBefore] = [nowMs(), meter.cpu(), await readWalBytes(world.platform), readMachine()];
  const sent: unknown = await within(sender.line(), options.sendSeconds, "the sender did not end");
  // The sender's process is gone when the rest is: its CPU is read now.
  const senderCpu = meter.cpu().get("sender") ?? 0;
  if (options.drainSeconds > 0)
    await waitFor(
      "worked off",
      () => countWaiting(world.platform),
      (waiting) => waiting === 0,
      options.drainSeconds * 1000,
    );
  const [cpuAfter, walAfter, machineAfter] = [new Map(meter.cpu()).set("sender", senderCpu), await readWalBytes(world.platform), readMachine()];
  const cpuUs = cpuBetween(cpuBefore, cpuAfter);
  const ourUs = [...cpuUs.values()].reduce((sum, us) => sum + us, 0);
  return {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what our own sender process prints
    sent: sent as T,
    fromMs,
    delivered: await readDelivered(world.platform, options.pattern, fromMs),
    cpuUs,
    walBytes: walAfter - walBefore,
    rssMiB: meter.rssMiB,
    othersBusy: Math.max(0, machineAfter.busyUs - machineBefore.busyUs - ourUs) / Math.max(1, machineAfter.allUs - machineBefore.allUs),
  };
}

export async function within<T>(work: Promise<T>, seconds: number, otherwise: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${otherwise} within ${seconds} s`)), seconds * 1000);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
