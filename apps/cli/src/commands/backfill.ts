/** `backfill`: the events of a time range again, as a delivery of their own. */
import { type Command, Option } from "commander";
import { segment } from "../api/api.ts";
import { plural } from "../output/cells.ts";
import type { OpenSession } from "../session.ts";
import { toCount, toTime } from "./arguments.ts";
import { confirm } from "./confirm.ts";
import { count, endWith, printDryRun } from "./follow-job.ts";

type BackfillOptions = {
  readonly since: string;
  readonly until?: string;
  readonly rate?: number;
  readonly version?: number;
  readonly verdict?: string;
  readonly reason?: string;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
  readonly wait: boolean;
};

export function addBackfillCommand(program: Command, open: OpenSession): void {
  program
    .command("backfill <pipeline>")
    .description("run the events of a time range again")
    .requiredOption("--since <time>", "captured at or after: a time, or an age like 15m", toTime)
    .option("--until <time>", "captured before; now if not said", toTime)
    .option("--rate <n>", "most events per second", toCount)
    .option("--version <n>", "with this version; with the active one if not said", toCount)
    .addOption(new Option("--verdict <verdict>", "only events with this verdict").choices(["delivered", "filtered", "dead"]))
    .option("--reason <text>", "for people who wonder")
    .option("--dry-run", "count only")
    .option("--yes", "do not ask")
    .option("--no-wait", "do not follow it to its end")
    .addHelpText(
      "after",
      "\nSinks write every event again: an upsert the same row, an insert another one.\n\nExample:\n  onedata backfill orders --since 2d --until 1d --rate 500 --dry-run",
    )
    .action(async (pipeline: string, options: BackfillOptions, command: Command) => {
      const session = open(command);
      const { since, until, version = 0, rate = 0, verdict = "", reason = "" } = options;
      const path = `/v1/pipelines/${segment(pipeline)}:backfill`;
      const body = { since, ...(until === undefined ? {} : { until }), version, eventsPerSecond: rate, verdict, reason };
      const found = await session.api().call("POST", path, { body: { ...body, dryRun: true } });
      if (options.dryRun === true) return printDryRun(session.out, found);
      const question = `Run ${plural(count(found["total"]), "event")} of ${pipeline} again? Sinks write them again: an upsert the same row, an insert another one.`;
      if (!(await confirm(session, question, options.yes))) return session.out.note("nothing was started");
      await endWith(session, await session.api().call("POST", path, { body }), options);
    });
}
