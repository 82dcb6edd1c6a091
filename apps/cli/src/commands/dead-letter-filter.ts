/** Which dead letters a command is about, as people say it: names, causes and ids, and options for the rest. */
import type { JsonObject } from "@onedata/core";
import type { Command } from "commander";
import { exitCodes, Failure } from "../failure.ts";
import { toCount, toTime } from "./arguments.ts";

export type FilterOptions = {
  readonly code?: string;
  readonly step?: string;
  readonly sink?: string;
  readonly diedIn?: number;
  readonly since?: string;
  readonly until?: string;
};

export const WHICH = "a pipeline, a cause (fingerprint), both, or ids of dead letters";

export const addFilterOptions = (command: Command): Command =>
  command
    .option("--code <code>", "only with this code")
    .option("--step <step>", "only of this step")
    .option("--sink <sink>", "only of this sink")
    .option("--died-in <version>", "only of this version", toCount)
    .option("--since <time>", "died at or after: a time, or an age like 15m", toTime)
    .option("--until <time>", "died before", toTime);

const isFingerprint = (word: string): boolean => /^[0-9a-f]{16}$/.test(word);

/** As the API's filter. */
export function toFilter(words: readonly string[], { code, step, sink, diedIn, since, until }: FilterOptions): JsonObject {
  const ids = words.filter((word) => word.startsWith("dl_"));
  const causes = words.filter(isFingerprint);
  const names = words.filter((word) => !word.startsWith("dl_") && !isFingerprint(word));
  const event = names.find((name) => name.startsWith("evt_"));
  if (event !== undefined) throw new Failure(`${event} is an event; to run it again: onedata replay ${event}`, exitCodes.usage);
  if (causes.length > 1 || names.length > 1) throw new Failure(`at most one pipeline and one cause; say ${WHICH}`, exitCodes.usage);
  const filter = {
    pipeline: names[0],
    fingerprint: causes[0],
    code,
    step,
    sink,
    version: diedIn,
    since,
    until,
    ids: ids.length === 0 ? undefined : ids,
  };
  return Object.fromEntries(Object.entries(filter).flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const])));
}
