/**
 * CPU time and memory of processes, from /proc.
 * Postgres counts with all its backends, those that have ended included; its memory is what backends hold for themselves, without the shared buffers.
 */
import { readFileSync } from "node:fs";

export type Watched = { readonly name: string; readonly pid: number; readonly withChildren?: boolean };
/** By name. */
export type CpuUs = ReadonlyMap<string, number>;

const TICK_US = 10_000;
const SAMPLE_MS = 500;

export class Meter implements Disposable {
  readonly #watched: readonly Watched[];
  readonly #rssMiB = new Map<string, number[]>();
  readonly #timer: NodeJS.Timeout;

  constructor(watched: readonly Watched[]) {
    this.#watched = watched;
    this.#sample();
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS);
  }

  cpu(): CpuUs {
    return new Map(this.#watched.map((watched) => [watched.name, cpuUsOf(watched)]));
  }

  /** Samples each half second, by name. */
  get rssMiB(): ReadonlyMap<string, readonly number[]> {
    return this.#rssMiB;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #sample(): void {
    for (const watched of this.#watched) {
      const samples = this.#rssMiB.get(watched.name) ?? [];
      this.#rssMiB.set(watched.name, samples);
      samples.push(Math.round(rssKibOf(watched) / 1024));
    }
  }
}

export const cpuBetween = (before: CpuUs, after: CpuUs): CpuUs => new Map([...after].map(([name, us]) => [name, us - (before.get(name) ?? 0)]));

/** Share of the machine that was busy with anything, 0 to 1, between two readings of `readMachine`. */
export function readMachine(): { readonly busyUs: number; readonly allUs: number } {
  const ticks = (read("/proc/stat").split("\n")[0] ?? "").trim().split(/\s+/).slice(1, 9).map(Number);
  const all = ticks.reduce((sum, value) => sum + value, 0);
  return { busyUs: (all - (ticks[3] ?? 0) - (ticks[4] ?? 0)) * TICK_US, allUs: all * TICK_US };
}

function cpuUsOf({ pid, withChildren = false }: Watched): number {
  const own = statOf(pid);
  const [user = 0, system = 0, endedUser = 0, endedSystem = 0] = [11, 12, 13, 14].map((field) => Number(own[field] ?? 0));
  if (!withChildren) return (user + system) * TICK_US;
  return childrenOf(pid).reduce((sum, child) => sum + cpuUsOf({ name: "", pid: child }), (user + system + endedUser + endedSystem) * TICK_US);
}

function rssKibOf({ pid, withChildren = false }: Watched): number {
  const status = read(`/proc/${pid}/status`);
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? 0);
  if (!withChildren) return field("VmRSS");
  return childrenOf(pid).reduce((sum, child) => sum + Number(/^RssAnon:\s+(\d+)/m.exec(read(`/proc/${child}/status`))?.[1] ?? 0), field("RssAnon"));
}

const childrenOf = (pid: number): number[] => read(`/proc/${pid}/task/${pid}/children`).trim().split(" ").filter(Boolean).map(Number);

/** Fields of /proc/pid/stat after the name in parentheses: index 0 is the state. */
const statOf = (pid: number): string[] => read(`/proc/${pid}/stat`).split(") ").pop()?.split(" ") ?? [];

/** Empty for a process that has ended. */
function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
