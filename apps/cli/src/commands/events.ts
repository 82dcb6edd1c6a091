/** `events`, `tail` and `outputs`: what became of what came in. */
import type { Attempt, DeadLetterRef, Event, eventV1, Output, StepTiming } from "@onedata/contracts";
import type { JsonObject } from "@onedata/core";
import { parseJson } from "@onedata/formats";
import { type Command, Option } from "commander";
import { segment } from "../api/api.ts";
import { cell, compact, isText, number, objects, type Row, time } from "../output/cells.ts";
import type { Printer } from "../output/printer.ts";
import { paintState } from "../output/style.ts";
import type { Column } from "../output/table.ts";
import type { OpenSession, Session } from "../session.ts";
import { toCount, toTime } from "./arguments.ts";
import { printWritten } from "./written.ts";

type ListOptions = { readonly limit: number; readonly state?: string; readonly since?: string; readonly until?: string };

export function addEventCommands(program: Command, open: OpenSession): void {
  program
    .command("events <pipeline-or-event>")
    .description("events of a pipeline, newest first; or one event with its timeline")
    .addOption(new Option("--state <state>", "only these").choices(["waiting", "running", "done"]))
    .option("--since <time>", "captured at or after: a time, or an age like 15m", toTime)
    .option("--until <time>", "captured before", toTime)
    .option("--limit <n>", "at most", toCount, 20)
    .addHelpText("after", "\nExample:\n  onedata events orders --since 1h --state waiting\n  onedata events evt_1f_0")
    .action(async (name: string, options: ListOptions, command: Command) => {
      const session = open(command);
      await (name.startsWith("evt_") ? showEvent(session, name) : listEvents(session, name, options));
    });
  program
    .command("tail <pipeline>")
    .description("events as they finish, until Ctrl-C")
    .addHelpText("after", "\nExample:\n  onedata tail orders --json | jq .verdict")
    .action(async (pipeline: string, _options: object, command: Command) => tail(open(command), pipeline));
  program
    .command("outputs <pipeline>")
    .description("results of a pipeline that keeps them in onedata.outputs")
    .option("--limit <n>", "at most", toCount, 50)
    .addHelpText("after", "\nExample:\n  onedata outputs orders --json | jq .record.total")
    .action(async (pipeline: string, { limit }: { limit: number }, command: Command) => {
      const session = open(command);
      const outputs = await session.api().list(`/v1/pipelines/${segment(pipeline)}/outputs`, "outputs", { limit });
      await session.out.table<Row<Output> & JsonObject>(
        outputs,
        [
          { head: "EVENT", of: ({ event }) => cell(event) },
          { head: "K", of: ({ k }) => number(k), align: "right" },
          { head: "RECORD", of: ({ record }) => compact(record) },
        ],
        `no outputs of ${pipeline} yet`,
      );
    });
}

const columns = (out: Printer): Column<Row<Event> & JsonObject>[] => [
  { head: "EVENT", of: ({ id }) => cell(id) },
  { head: "STATE", of: ({ state, verdict }) => (isText(verdict) ? verdict : cell(state)), paint: (text) => paintState(text, out.style) },
  { head: "CAPTURED", of: ({ capturedAt }) => time(capturedAt) },
  { head: "DONE", of: ({ doneAt }) => time(doneAt) },
  { head: "VERSION", of: ({ version }) => (version === 0 ? "" : cell(version)), align: "right" },
  { head: "WAITING FOR", of: ({ waitingFor }) => cell(waitingFor) },
];

async function listEvents({ api, out }: Session, pipeline: string, { limit, ...query }: ListOptions): Promise<void> {
  const events = await api().list(`/v1/pipelines/${segment(pipeline)}/events`, "events", { limit, query });
  await out.table(events, columns(out), `no such events of ${pipeline}`);
}

async function tail({ api, out, signal }: Session, pipeline: string): Promise<void> {
  out.note(`events of ${pipeline} as they finish; Ctrl-C ends`);
  const calls = api();
  try {
    // The server ends a tail after an hour.
    while (!signal.aborted) {
      for await (const event of calls.stream(`/v1/pipelines/${segment(pipeline)}/events:tail`)) {
        if (out.isJson) await out.json(event);
        else await printTailed(out, event);
      }
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

const printTailed = (out: Printer, { id, verdict, doneAt, payload }: Row<Event>): Promise<void> =>
  out.line(
    `${out.style.dim(time(doneAt))}  ${cell(id)}  ${paintState(cell(verdict).padEnd(9), out.style)}${payload === undefined || payload === null ? "" : `  ${compact(payload).slice(0, 200)}`}`,
  );

async function showEvent({ api, out }: Session, id: string): Promise<void> {
  const text = await api().text(`/v1/events/${segment(id)}`);
  // As it came: the payload stays byte for byte what was accepted.
  if (out.isJson) return out.line(text);
  const { style } = out;
  const value = parseJson(text);
  const event: Row<Event> = objects([value])[0] ?? {};
  const field = (name: string, shown: string): Promise<void> =>
    shown === "" ? Promise.resolve() : out.line(`${style.dim(name.padEnd(12))} ${shown}`);
  await field("event", style.bold(cell(event.id)));
  await field("pipeline", `${cell(event.pipeline)}${event.version === 0 ? "" : ` version ${cell(event.version)}`}`);
  await field(
    "state",
    `${paintState(isText(event.verdict) ? event.verdict : cell(event.state), style)}${isText(event.waitingFor) ? style.yellow(`  ${event.waitingFor}`) : ""}`,
  );
  await field("captured", time(event.capturedAt));
  await field("done", time(event.doneAt));
  await field("import", cell(event.import));
  await field("key", cell(event.orderingKey));
  await field("trace", cell(event.traceId));
  await field("payload", compact(event.payload));
  if (event.editedPayload !== undefined && event.editedPayload !== null) await field("edited to", compact(event.editedPayload));
  for (const attempt of objects(event.timeline)) await printAttempt(out, attempt);
  await printWritten(out, event);
  for (const delivery of objects(event.deliveries)) {
    const { job, kind, generation, state, verdict, version, at, edited }: Row<eventV1.Delivery> & JsonObject = delivery;
    const shown = paintState(isText(verdict) ? verdict : cell(state), style);
    await out.line(
      `${style.dim(cell(kind).padEnd(12))} ${time(at)}  ${shown}${version === 0 ? "" : ` version ${cell(version)}`}${generation === 0 ? "" : ` delivery ${cell(generation)}`}${edited === true ? " edited" : ""} ${style.dim(cell(job))}`,
    );
  }
  for (const letter of objects(event.deadLetters)) {
    const { id: letterId, step, sink, code, message }: Row<DeadLetterRef> & JsonObject = letter;
    await out.line(
      `${style.red("dead")} at ${style.bold(isText(step) ? step : cell(sink))}  ${cell(message)} ${style.dim(`[${cell(code)}] ${cell(letterId)}`)}`,
    );
  }
}

async function printAttempt(out: Printer, { attempt, outcome, startedAt, steps, verdict }: Row<Attempt>): Promise<void> {
  const { style } = out;
  await out.line(
    `${style.dim(`attempt ${cell(attempt)}`.padEnd(12))} ${time(startedAt)}  ${paintState(isText(verdict) ? verdict : cell(outcome), style)}`,
  );
  for (const timing of objects(steps)) {
    const { step, service, durationMs }: Row<StepTiming> = timing;
    await out.line(`             ${cell(step)} ${style.dim(`${cell(service)}, ${typeof durationMs === "number" ? durationMs.toFixed(1) : "?"} ms`)}`);
  }
}
