/** `backup`: base copies of the platform's database and its archived log in a folder. Works on the home itself, beside a running OneData or without one. */
import { resolve } from "node:path";
import type { JsonObject } from "@onedata/core";
import type { BackUpResult, CopyReport } from "@onedata/store/backup";
import { type Command, InvalidArgumentError } from "commander";
import { Exit, exitCodes } from "../failure.ts";
import { plural } from "../output/cells.ts";
import { createProgress } from "../output/progress.ts";
import type { OpenSession, Session } from "../session.ts";
import { toCount } from "./arguments.ts";
import { homeOf, toMegabytes, toSeconds } from "./homes.ts";

type MakeOptions = { readonly home?: string; readonly keep: number; readonly archiveEvery?: number; readonly database?: string };

type FenceOptions = { readonly database?: string; readonly paused?: boolean };

export function addBackupCommands(program: Command, open: OpenSession): void {
  const family = program.command("backup").description("back up the platform's database: base copies and a continuous archive of its log");
  family
    .command("make <folder>", { isDefault: true })
    .description("make a base copy; the first one also starts the archive, which then goes on by itself")
    .option("--home <folder>", "the home whose embedded database it is (default: ONEDATA_HOME, else .onedata)")
    .option("--keep <copies>", "base copies to keep, with the log they need", toCount, 7)
    .option("--archive-every <seconds>", "a change is archived after this at the latest (default: 60)", toSecondsOption)
    .option("--database <url>", "of your own Postgres instead (default: ONEDATA_DATABASE); needs pg_basebackup of its version")
    .addHelpText("after", '\nFor each night. The word "make" may be left out.\n\nExample:\n  onedata backup make /mnt/other-disk/onedata --keep 7')
    .action(async (folder: string, options: MakeOptions, command: Command) => make(open(command), folder, options));
  family
    .command("verify <folder>")
    .description("read every byte of the backup and hold it against its manifest; exit code 1 if anything is wrong")
    .addHelpText("after", "\nExample:\n  onedata backup verify /mnt/other-disk/onedata")
    .action(async (folder: string, _options: object, command: Command) => verify(open(command), folder));
  family
    .command("status")
    .description("whether the archive keeps up; exit code 1 if there is none or it fails")
    .option("--home <folder>", "the home whose embedded database it is (default: ONEDATA_HOME, else .onedata)")
    .addHelpText("after", "\nExample:\n  onedata backup status")
    .action(async (options: { home?: string }, command: Command) => showStatus(open(command), options));
  family
    .command("fence")
    .description("make a database fit to run that you restored by other means: pg_basebackup, pgBackRest, a provider's point-in-time recovery")
    .option("--database <url>", "the platform's database (default: ONEDATA_DATABASE)")
    .option("--paused", "pause all pipelines, so that nothing is delivered before you have looked")
    .addHelpText(
      "after",
      "\nOnce, before OneData starts on it: what ran is ready again without counting as a crash, and generations move on past those that the sinks know.\n`onedata restore` does the same by itself.\n\nExample:\n  onedata backup fence --database postgres://onedata@db/onedata --paused",
    )
    .action(async (options: FenceOptions, command: Command) => fence(open(command), options));
  family
    .command("stop")
    .description("stop archiving; what is in the folder stays")
    .option("--home <folder>", "the home whose embedded database it is (default: ONEDATA_HOME, else .onedata)")
    .addHelpText("after", "\nExample:\n  onedata backup stop")
    .action(async (options: { home?: string }, command: Command) => stop(open(command), options));
}

function toSecondsOption(text: string): number {
  const seconds = Number(text);
  if (!Number.isInteger(seconds) || seconds < 1 || seconds > 3600) throw new InvalidArgumentError("Whole seconds from 1 to 3600 are needed.");
  return seconds;
}

async function make({ terminal, out, signal }: Session, folder: string, options: MakeOptions): Promise<void> {
  const { backUp, backUpExternal } = await import("@onedata/store/backup");
  const database = options.database ?? terminal.env["ONEDATA_DATABASE"];
  const progress = createProgress(terminal, !out.isJson);
  const target = resolve(folder);
  const made =
    database === undefined || database === "embedded:"
      ? await backUp({
          home: homeOf(terminal, options.home),
          folder: target,
          keep: options.keep,
          archiveEverySeconds: options.archiveEvery,
          signal,
          onProgress: (bytes, total) => progress.show(`${toMegabytes(bytes)} of ${toMegabytes(total)}`, bytes / Math.max(1, total)),
        })
      : await backUpExternal({ url: database, folder: target, keep: options.keep, path: terminal.env["PATH"] ?? "", signal });
  progress.clear();
  if (out.isJson) return out.json(toJson(made));
  if (made.archiveStarted) out.note(`from now on the database's log is archived in ${target}/wal`);
  for (const warning of made.warnings) out.note(`${out.noteStyle.yellow("note")} ${warning}`);
  if (made.removedCopies.length > 0)
    out.note(`removed ${plural(made.removedCopies.length, "older copy", "older copies")} and ${plural(made.removedSegments, "log segment")}`);
  await out.line(`${made.folder}  ${plural(made.files, "file")}, ${toMegabytes(made.bytes)}, ${toSeconds(made.seconds)}`);
}

const toJson = ({ warnings, removedCopies, ...made }: BackUpResult): JsonObject => ({
  ...made,
  warnings: [...warnings],
  removedCopies: [...removedCopies],
});

async function verify({ terminal, out, signal }: Session, folder: string): Promise<void> {
  const { verifyBackup } = await import("@onedata/store/backup");
  const progress = createProgress(terminal, !out.isJson);
  let done = 0;
  const onBytes = (bytes: number): void => {
    done += bytes;
    progress.show(`${toMegabytes(done)} read`);
  };
  const { copies, problems } = await verifyBackup(resolve(folder), { signal, onBytes });
  progress.clear();
  await out.table(
    copies.map(toRow),
    [
      { head: "COPY", of: ({ label }) => String(label), paint: out.style.bold },
      { head: "FILES", of: ({ files }) => String(files) },
      { head: "SIZE", of: ({ bytes }) => toMegabytes(Number(bytes)) },
      { head: "LOG UP TO", of: ({ lastSegment }) => String(lastSegment) },
      { head: "STATE", of: ({ problems: found }) => (Array.isArray(found) && found.length > 0 ? `${found.length} problems` : "good") },
    ],
    "no base copies",
  );
  const all = [...problems, ...copies.flatMap((copy) => copy.problems.map((problem) => `${copy.label}: ${problem}`))];
  for (const problem of all) out.note(`${out.noteStyle.red("damaged")} ${problem}`);
  if (all.length > 0) throw new Exit(exitCodes.problem);
}

const toRow = ({ problems, lastSegment, ...copy }: CopyReport) => ({ ...copy, lastSegment: lastSegment ?? "", problems: [...problems] });

async function showStatus({ terminal, out }: Session, options: { readonly home?: string }): Promise<void> {
  const { archiveStatus, openHomeDatabase } = await import("@onedata/store/backup");
  await using database = await openHomeDatabase(homeOf(terminal, options.home));
  const { state, folder, lastArchived, lastArchivedAt, waitingSegments, problem } = await archiveStatus(database.sql);
  if (out.isJson) {
    await out.json({
      state,
      folder: folder ?? null,
      lastArchived: lastArchived ?? null,
      lastArchivedAt: lastArchivedAt?.toISOString() ?? null,
      waitingSegments: waitingSegments ?? null,
      problem: problem ?? null,
    });
  } else
    await out.line(
      problem ?? `${state}: ${folder ?? ""}, last archived ${lastArchivedAt?.toISOString() ?? "never"}, ${waitingSegments ?? "?"} segments waiting`,
    );
  if (problem !== undefined) throw new Exit(exitCodes.problem);
}

async function stop({ terminal, out }: Session, options: { readonly home?: string }): Promise<void> {
  const { openHomeDatabase, stopArchiving } = await import("@onedata/store/backup");
  await using database = await openHomeDatabase(homeOf(terminal, options.home));
  const folder = await stopArchiving(database.sql, database.dataDir);
  out.note(
    folder === undefined
      ? "nothing was archived"
      : `nothing is archived in ${folder} any more; \`onedata backup <folder>\` starts it again with a new base copy`,
  );
}

async function fence({ terminal, out }: Session, options: FenceOptions): Promise<void> {
  const { fenceDatabase } = await import("@onedata/store/backup");
  const url = options.database ?? terminal.env["ONEDATA_DATABASE"] ?? "";
  if (!/^postgres(ql)?:\/\//.test(url))
    throw new InvalidArgumentError("--database postgres://… is needed; a database of `npm start` is brought back by `onedata restore`.");
  const { released, pipelines } = await fenceDatabase(url, { paused: options.paused === true });
  if (out.isJson) return out.json({ released, pipelines });
  await out.line(`${plural(released, "batch", "batches")} ready again, generations of ${plural(pipelines, "pipeline")} moved on: OneData may start`);
}
