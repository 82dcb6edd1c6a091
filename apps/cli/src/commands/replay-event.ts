/** `replay` and `dead-letters edit`: one event again, as it was or with another payload. */
import type { Event } from "@onedata/contracts";
import { isJsonObject, type JsonObject } from "@onedata/core";
import { parseJson, stringifyJson } from "@onedata/formats";
import type { Command } from "commander";
import { segment } from "../api/api.ts";
import { exitCodes, Failure } from "../failure.ts";
import { cell, type Row } from "../output/cells.ts";
import type { OpenSession, Session } from "../session.ts";
import { readInput, toCount } from "./arguments.ts";
import { confirm } from "./confirm.ts";
import { editJson, problemOf } from "./edit-json.ts";
import { endWith } from "./follow-job.ts";

type ReplayOptions = {
  readonly payload?: string;
  readonly version?: number;
  readonly reason?: string;
  readonly yes?: boolean;
  readonly wait: boolean;
};

const addOptions = (command: Command): Command =>
  command
    .option("--payload <file>", "another payload from this file, or - for stdin")
    .option("--version <n>", "with this version; with the active one if not said", toCount)
    .option("--reason <text>", "for people who wonder")
    .option("--no-wait", "do not follow it to its end");

export function addReplayCommand(program: Command, open: OpenSession): void {
  addOptions(program.command("replay <event>"))
    .description("run one event again")
    .option("--yes", "do not ask")
    .addHelpText(
      "after",
      "\nA dead event is written only where it is missing. An event that was delivered is written again: by an upsert over its row, by an insert as another one.\n\nExample:\n  onedata replay evt_1f_0 --version 3",
    )
    .action(async (id: string, options: ReplayOptions, command: Command) => {
      const session = open(command);
      const event = await readEvent(session, id);
      const payload = options.payload === undefined ? undefined : await readPayload(session, options.payload);
      await replay(session, event, payload, options);
    });
}

export function addEditCommand(family: Command, open: OpenSession): void {
  addOptions(family.command("edit <dead-letter-or-event>"))
    .description("change the payload of one event ($EDITOR, or --payload) and run it again")
    .option("--yes", "do not ask")
    .addHelpText("after", "\nExample:\n  onedata dead-letters edit dl_1f\n  jq '.price = 3' order.json | onedata dead-letters edit dl_1f --payload -")
    .action(async (id: string, options: ReplayOptions, command: Command) => {
      const session = open(command);
      const letter = id.startsWith("dl_") ? await session.api().get(`/v1/dead-letters/${segment(id)}`) : undefined;
      const event = await readEvent(session, letter === undefined ? id : cell(letter["event"]));
      const payload =
        options.payload === undefined ? editJson(session, cell(event.row.id), event.payload) : await readPayload(session, options.payload);
      if (payload === undefined) return session.out.note("nothing was changed, so nothing is run again");
      await replay(session, event, payload, options);
    });
}

/** `payload`: what it would run with. */
type Shown = { readonly row: Row<Event> & JsonObject; readonly payload: string };

async function readEvent(session: Session, id: string): Promise<Shown> {
  if (!id.startsWith("evt_")) throw new Failure(`${id} is neither an event nor a dead letter`, exitCodes.usage);
  const value = parseJson(await session.api().text(`/v1/events/${segment(id)}`));
  const row: Row<Event> & JsonObject = isJsonObject(value) ? value : {};
  return { row, payload: stringifyJson(row.editedPayload ?? row.payload ?? null) };
}

async function readPayload({ terminal }: Session, path: string): Promise<string> {
  const text = (await readInput(path, terminal)).toString("utf8").trim();
  const problem = problemOf(text);
  if (problem !== undefined) throw new Failure(`${path === "-" ? "stdin" : path} is no JSON: ${problem}`);
  return text;
}

async function replay(session: Session, { row }: Shown, payload: string | undefined, options: ReplayOptions): Promise<void> {
  const id = cell(row.id);
  if (row.verdict === "delivered" || row.verdict === "filtered") {
    const question = `${id} was ${cell(row.verdict)}. Its sinks write it again: an upsert over its row, an insert as another one. Go on?`;
    if (!(await confirm(session, question, options.yes))) return session.out.note("nothing was started");
  }
  const members = [`"version":${options.version ?? 0}`, `"reason":${JSON.stringify(options.reason ?? "")}`];
  // As it was written: the server keeps it so.
  if (payload !== undefined) members.push(`"payload":${payload.trim()}`);
  const job = await session.api().call("POST", `/v1/events/${segment(id)}:replay`, {
    content: { data: `{${members.join(",")}}`, mediaType: "application/json" },
  });
  await endWith(session, job, options);
}
