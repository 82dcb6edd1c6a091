/** Follows a job to its end with a bar on the terminal; how it ended goes to stdout. Ctrl-C leaves the job running. */
import type { Job } from "@onedata/contracts";
import type { JsonObject } from "@onedata/core";
import { segment } from "../api/api.ts";
import { Exit, exitCodes } from "../failure.ts";
import { cell, isText, number, plural, type Row } from "../output/cells.ts";
import type { Printer } from "../output/printer.ts";
import { createProgress } from "../output/progress.ts";
import { paintState } from "../output/style.ts";
import type { Session } from "../session.ts";
import { pause } from "./pause.ts";

export type JobRow = Row<Job> & JsonObject;

const FOLLOW_MS = 250;

export const jobPath = (id: string): string => `/v1/jobs/${segment(id)}`;

/** The job as it ended; throws `Exit` when it failed or was cancelled, after it was shown. */
export async function followJob(session: Session, started: JobRow): Promise<JobRow> {
  const { out, signal, terminal } = session;
  const api = session.api();
  const id = cell(started.id);
  const progress = createProgress(terminal, !out.isJson);
  const startedMs = performance.now();
  const doneAtStart = doneOf(started);
  let job = started;
  try {
    while (!isText(job.doneAt)) {
      const [total, done] = [count(job.total), doneOf(job)];
      const rate = Math.round(((done - doneAtStart) / Math.max(performance.now() - startedMs, 1)) * 1000);
      progress.show(
        `${number(done)} of ${number(total)} done  ${number(job.dead)} dead  ${rate.toLocaleString("en-US")}/s  ${cell(job.reason)}`,
        total === 0 || job.state === "preparing" ? 0 : done / total,
      );
      await pause(FOLLOW_MS, signal);
      job = await api.get(jobPath(id));
    }
  } catch (error) {
    if (signal.aborted) {
      progress.clear();
      out.note(`${id} goes on without you: onedata jobs watch ${id}; to stop it: onedata jobs cancel ${id}`);
    }
    throw error;
  } finally {
    progress.clear();
  }
  return job;
}

/** Starts following, or, with `--no-wait`, says what was started. */
export async function endWith(session: Session, job: JobRow, options: { readonly wait: boolean }): Promise<void> {
  const ended = options.wait ? await followJob(session, job) : job;
  await printEnd(session.out, ended);
  if (ended.state === "failed" || ended.state === "cancelled") throw new Exit(exitCodes.problem);
}

export async function printEnd(out: Printer, job: JobRow): Promise<void> {
  if (out.isJson) return out.json(job);
  const { style } = out;
  const state = cell(job.state);
  const loss = (value: unknown, name: string): string => (count(value) > 0 ? `  ${style.red(`${number(count(value))} ${name}`)}` : "");
  const filtered = count(job.filtered) > 0 ? `  ${number(job.filtered)} filtered` : "";
  const skipped = count(job.skipped) > 0 ? style.yellow(`  ${number(job.skipped)} skipped`) : "";
  const what =
    job.kind === "discard"
      ? `${number(job.queued)} of ${number(job.total)} given up`
      : `${style.green(`${number(job.delivered)} of ${number(job.total)} delivered`)}${filtered}${loss(job.dead, "dead again")}`;
  await out.line(
    `${style.bold(cell(job.id))} ${paintState(state, style)}  ${what}${skipped}${isText(job.reason) ? `  ${style.dim(job.reason)}` : ""}`,
  );
  if (count(job.dead) > 0) out.note(`why: onedata dead-letters groups ${cell(job.pipeline)}`);
  if (!isText(job.doneAt)) out.note(`to follow it: onedata jobs watch ${cell(job.id)}`);
}

/** What a dry run found. */
export async function printDryRun(out: Printer, job: JobRow): Promise<void> {
  if (out.isJson) return out.json(job);
  const skipped = count(job.skipped) > 0 ? `, ${plural(count(job.skipped), "dead letter is", "dead letters are")} taken already` : "";
  await out.line(
    `${out.style.yellow("dry run")}: ${cell(job.description)}; ${plural(count(job.total), job.kind === "discard" ? "dead letter" : "event")}${skipped}`,
  );
}

export const count = (value: unknown): number => (typeof value === "number" ? value : 0);

const doneOf = (job: JobRow): number => (job.kind === "discard" ? count(job.queued) : count(job.delivered) + count(job.filtered) + count(job.dead));
