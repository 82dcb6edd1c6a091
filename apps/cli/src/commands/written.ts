/** "Where did it go?": what an event wrote, per sink. */
import type { Event } from "@onedata/contracts";
import type { JsonObject } from "@onedata/core";
import { cell, compact, objects, plural, type Row } from "../output/cells.ts";
import type { Printer } from "../output/printer.ts";

type Written = Event["written"][number];

const STATES: Readonly<Record<string, string>> = {
  written: "went to",
  waiting: "waits for",
  filtered: "was kept from",
  dead: "died before",
  unknown: "not known",
};

export async function printWritten(out: Printer, { written }: Row<Event>): Promise<void> {
  for (const row of objects(written)) await printSink(out, row);
}

async function printSink(out: Printer, { kind, target, state, count, sample, stored }: Row<Written> & JsonObject): Promise<void> {
  const { style } = out;
  const word = STATES[cell(state)] ?? cell(state);
  const paint = state === "written" ? style.green : state === "dead" ? style.red : style.yellow;
  const records = Array.isArray(sample) ? sample : [];
  const of =
    state === "written" && typeof count === "number" && count > 0
      ? `, ${plural(count, "record")}${records.length > 0 && stored !== true ? ", computed again" : ""}`
      : state === "unknown"
        ? ", delivered; how much of it went here cannot be told"
        : "";
  await out.line(`${paint(word.padEnd(12))} ${style.bold(cell(target))} ${style.dim(`(${cell(kind)}${of})`)}`);
  for (const record of records) await out.line(`             ${compact(record)}`);
}
