/** `restore`: a home's database from a backup, as far as the archive goes or to a time before. */
import { resolve } from "node:path";
import type { Command } from "commander";
import { createProgress } from "../output/progress.ts";
import type { OpenSession, Session } from "../session.ts";
import { toTime } from "./arguments.ts";
import { homeOf, toMegabytes, toSeconds } from "./homes.ts";

type RestoreOptions = { readonly to?: string; readonly home?: string; readonly force?: boolean; readonly paused?: boolean };

export function addRestoreCommand(program: Command, open: OpenSession): void {
  program
    .command("restore <folder>")
    .description("bring a home's database back from a backup; OneData must not run in it")
    .option("--to <time>", "as it was then, e.g. 2026-01-31T12:00:00Z or 15m (default: as far as the archive goes)", toTime)
    .option("--home <folder>", "where to (default: ONEDATA_HOME, else .onedata)")
    .option("--force", "move a database that is there aside")
    .option("--paused", "pause all pipelines, so that nothing is delivered before you have looked")
    .addHelpText(
      "after",
      "\nWhat was captured after the point is gone from the platform, and may be in the sinks already: docs/backup.md says what follows.\n\nExample:\n  onedata restore /mnt/other-disk/onedata --to 2026-01-31T12:00:00Z --force && npm start",
    )
    .action(async (folder: string, options: RestoreOptions, command: Command) => restore(open(command), folder, options));
}

async function restore({ terminal, out, signal }: Session, folder: string, options: RestoreOptions): Promise<void> {
  const { restoreBackup } = await import("@onedata/store/backup");
  const progress = createProgress(terminal, !out.isJson);
  const from = resolve(folder);
  const restored = await restoreBackup({
    folder: from,
    home: homeOf(terminal, options.home),
    to: options.to === undefined ? undefined : new Date(options.to),
    force: options.force,
    paused: options.paused,
    signal,
    onProgress: (bytes, total) => progress.show(`copying, ${toMegabytes(bytes)} of ${toMegabytes(total)}`, bytes / Math.max(1, total)),
    onPhase: (phase) => {
      if (phase === "recovering") progress.show("the database recovers from the archive", 1);
    },
  });
  progress.clear();
  const { label, home, reached, copySeconds, recoverySeconds, fenced, movedAside } = restored;
  if (out.isJson) {
    return out.json({
      label,
      home,
      reached: reached?.toISOString() ?? null,
      copySeconds,
      recoverySeconds,
      released: fenced.released,
      movedAside: [...movedAside],
    });
  }
  for (const path of movedAside) out.note(`moved aside: ${path}`);
  if (fenced.released > 0) out.note(`${fenced.released} batches that were being worked on are ready again`);
  await out.line(
    `${home} is as it was at ${reached?.toISOString() ?? "the end of the base copy"} (base copy ${label}; copied in ${toSeconds(copySeconds)}, recovered in ${toSeconds(recoverySeconds)})`,
  );
  out.note(`start it with \`ONEDATA_HOME=${home} npm start\`; it archives nothing until the next \`onedata backup ${from}\``);
}
