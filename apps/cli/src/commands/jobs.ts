/** `jobs`: replays, backfills and discards: what there are, how far they are, and to stop one. */
import { type Command, Option } from "commander";
import { exitCodes, Failure } from "../failure.ts";
import { cell, number, time } from "../output/cells.ts";
import { paintState } from "../output/style.ts";
import type { OpenSession, Session } from "../session.ts";
import { toCount } from "./arguments.ts";
import { count, endWith, type JobRow, jobPath, printEnd } from "./follow-job.ts";

type ListOptions = { readonly limit: number; readonly state?: string };

export function addJobCommands(program: Command, open: OpenSession): void {
  const family = program.command("jobs").description("replays, backfills and discards");
  family
    .command("list [pipeline]", { isDefault: true })
    .description("jobs, newest first")
    .addOption(new Option("--state <state>", "only these").choices(["preparing", "running", "done", "failed", "cancelled"]))
    .option("--limit <n>", "at most", toCount, 20)
    .addHelpText("after", "\nExample:\n  onedata jobs list movies --state running")
    .action(async (pipeline: string | undefined, { limit, state }: ListOptions, command: Command) => {
      const { api, out } = open(command);
      await out.table<JobRow>(
        await api().list("/v1/jobs", "jobs", { limit, query: { pipeline, state } }),
        [
          { head: "JOB", of: ({ id }) => cell(id) },
          { head: "KIND", of: ({ kind }) => cell(kind) },
          { head: "STATE", of: ({ state: shown }) => cell(shown), paint: (text) => paintState(text, out.style) },
          { head: "TOTAL", of: ({ total }) => number(total), align: "right" },
          { head: "DELIVERED", of: ({ delivered }) => number(delivered), align: "right" },
          { head: "FILTERED", of: ({ filtered }) => number(filtered), align: "right" },
          { head: "DEAD", of: ({ dead }) => number(dead), align: "right" },
          { head: "SKIPPED", of: ({ skipped }) => number(skipped), align: "right" },
          { head: "BEGUN", of: ({ createdAt }) => time(createdAt) },
          { head: "BY", of: ({ createdBy }) => cell(createdBy) },
          { head: "WHAT", of: ({ description, reason }) => [cell(description), cell(reason)].filter((text) => text !== "").join(": ") },
        ],
        "no jobs yet",
      );
    });
  family
    .command("show <job>")
    .description("one job")
    .addHelpText("after", "\nExample:\n  onedata jobs show job_1f")
    .action(async (id: string, _options: object, command: Command) => {
      const session = open(command);
      await showJob(session, await session.api().get(jobPath(id)));
    });
  family
    .command("watch <job>")
    .description("follow a job to its end")
    .addHelpText("after", "\nExample:\n  onedata jobs watch job_1f --json | jq .delivered")
    .action(async (id: string, _options: object, command: Command) => {
      const session = open(command);
      if (!session.out.isJson) return endWith(session, await session.api().get(jobPath(id)), { wait: true });
      for await (const job of session.api().stream(`${jobPath(id)}:watch`)) await session.out.json(job);
    });
  family
    .command("cancel <job>")
    .description("start no more of its events; what runs already ends, the rest of the dead letters is open again")
    .addHelpText("after", "\nExample:\n  onedata jobs cancel job_1f")
    .action(async (id: string, _options: object, command: Command) => {
      const session = open(command);
      if (!id.startsWith("job_")) throw new Failure(`${id} is no job: onedata jobs`, exitCodes.usage);
      await printEnd(session.out, await session.api().call("POST", `${jobPath(id)}:cancel`, { body: {} }));
    });
}

async function showJob({ out }: Session, job: JobRow): Promise<void> {
  if (out.isJson) return out.json(job);
  const { style } = out;
  const field = (name: string, shown: string): Promise<void> =>
    shown === "" ? Promise.resolve() : out.line(`${style.dim(name.padEnd(12))} ${shown}`);
  await field("job", style.bold(cell(job.id)));
  await field("what", cell(job.description));
  await field("state", `${paintState(cell(job.state), style)}${cell(job.reason) === "" ? "" : style.yellow(`  ${cell(job.reason)}`)}`);
  await field("pipeline", `${cell(job.pipeline)}${count(job.version) === 0 ? "" : ` version ${number(job.version)}`}`);
  await field("delivery", count(job.generation) === 0 ? "" : number(job.generation));
  await field("rate", count(job.eventsPerSecond) === 0 ? "" : `${number(job.eventsPerSecond)}/s at most`);
  await field("by", `${cell(job.createdBy)} ${time(job.createdAt)}`);
  await field("ended", time(job.doneAt));
  if (job.kind === "discard") return field("given up", `${number(job.queued)} of ${number(job.total)}`);
  await field(
    "list",
    `${number(job.total)} events, ${number(job.queued)} handed out${count(job.skipped) > 0 ? `, ${number(job.skipped)} skipped` : ""}`,
  );
  await field(
    "verdicts",
    `${style.green(`${number(job.delivered)} delivered`)}  ${number(job.filtered)} filtered  ${count(job.dead) > 0 ? style.red(`${number(job.dead)} dead`) : "0 dead"}`,
  );
}
