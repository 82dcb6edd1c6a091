/** What a new version makes of the events captured last, in two lines and the first difference. */
import type { Sample, SampleDiff } from "@onedata/contracts";
import { isJsonObject, type Json } from "@onedata/core";
import { cell, compact, isText, number, plural, type Row } from "../output/cells.ts";
import type { Printer } from "../output/printer.ts";

export async function printSample(out: Printer, sample: Json | undefined): Promise<void> {
  if (sample === undefined || !isJsonObject(sample)) return;
  const { same, changed, dead, skipped, skippedBecause, firstDiff }: Row<Sample> = sample;
  const { style } = out;
  const total = [same, changed, dead, skipped].reduce<number>((sum, count) => sum + (typeof count === "number" ? count : 0), 0);
  const dies = `${number(dead ?? 0)} die`;
  const counts = [`${number(same ?? 0)} same`, `${number(changed ?? 0)} changed`, dead === 0 ? dies : style.red(dies)];
  const why =
    skipped === undefined || skipped === 0
      ? ""
      : style.yellow(`, ${number(skipped)} not tried${isText(skippedBecause) ? `: ${skippedBecause}` : ""}`);
  await out.line(`  on the last ${plural(total, "event")}: ${counts.join(", ")}${why}`);
  if (firstDiff === undefined || !isJsonObject(firstDiff)) return;
  const { event, input, before, after }: Row<SampleDiff> = firstDiff;
  await out.line(`  ${style.cyan(cell(event))} ${compact(input)}: ${style.red(compact(before))} → ${style.green(compact(after))}`);
}
