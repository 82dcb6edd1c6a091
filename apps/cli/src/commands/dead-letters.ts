/** `dead-letters`: what could not be processed, by cause and one by one; run again, given up, edited, or mended with a new version. */
import type { DeadLetter, DeadLetterGroup } from "@onedata/contracts";
import { isJsonObject, type JsonObject } from "@onedata/core";
import { type Command, Option } from "commander";
import { segment } from "../api/api.ts";
import { cell, compact, isText, number, plural, type Row, time } from "../output/cells.ts";
import { paintState } from "../output/style.ts";
import type { OpenSession, Session } from "../session.ts";
import { toCount } from "./arguments.ts";
import { confirm } from "./confirm.ts";
import { addFilterOptions, type FilterOptions, toFilter, WHICH } from "./dead-letter-filter.ts";
import { addFixCommand } from "./fix-dead-letters.ts";
import { count, endWith, printDryRun } from "./follow-job.ts";
import { addEditCommand } from "./replay-event.ts";

type ListOptions = FilterOptions & { readonly limit: number; readonly state?: string; readonly fingerprint?: string };
type JobOptions = FilterOptions & { readonly reason?: string; readonly dryRun?: boolean; readonly yes?: boolean; readonly wait: boolean };
type ReplayOptions = JobOptions & { readonly version?: number; readonly rate?: number };

export function addDeadLetterCommands(program: Command, open: OpenSession): void {
  const family = program.command("dead-letters").description("events that could not be processed");
  addReadCommands(family, open);
  addFilterOptions(family.command("replay <which...>"))
    .description("run dead letters again; sinks that have them already write nothing")
    .option("--version <n>", "with this version; with the active one if not said", toCount)
    .option("--rate <n>", "most events per second", toCount)
    .option("--reason <text>", "for people who wonder")
    .option("--dry-run", "count only")
    .option("--no-wait", "do not follow it to its end")
    .addHelpText("after", `\n<which> is ${WHICH}.\n\nExample:\n  onedata dead-letters replay movies --code record.invalid --rate 500`)
    .action(async (which: string[], options: ReplayOptions, command: Command) => {
      const session = open(command);
      const { version = 0, rate = 0, reason = "", dryRun = false } = options;
      const body = { filter: toFilter(which, options), version, eventsPerSecond: rate, reason, dryRun };
      const job = await session.api().call("POST", "/v1/dead-letters:replay", { body });
      await (dryRun ? printDryRun(session.out, job) : endWith(session, job, options));
    });
  addFilterOptions(family.command("discard <which...>"))
    .description("give dead letters up")
    .requiredOption("--reason <text>", "why: it is kept with each of them")
    .option("--dry-run", "count only")
    .option("--yes", "do not ask")
    .option("--no-wait", "do not follow it to its end")
    .addHelpText("after", `\n<which> is ${WHICH}.\n\nExample:\n  onedata dead-letters discard movies --until 7d --reason "test data"`)
    .action(async (which: string[], options: JobOptions, command: Command) => discard(open(command), which, options));
  addEditCommand(family, open);
  addFixCommand(family, open);
}

async function discard(session: Session, which: readonly string[], options: JobOptions): Promise<void> {
  const body = { filter: toFilter(which, options), reason: options.reason ?? "" };
  const found = await session.api().call("POST", "/v1/dead-letters:discard", { body: { ...body, dryRun: true } });
  if (options.dryRun === true) return printDryRun(session.out, found);
  const question = `Give up ${plural(count(found["total"]), "dead letter")} of ${isText(found["pipeline"]) ? found["pipeline"] : "a removed pipeline"}?`;
  if (!(await confirm(session, question, options.yes))) return session.out.note("nothing was given up");
  await endWith(session, await session.api().call("POST", "/v1/dead-letters:discard", { body }), options);
}

function addReadCommands(family: Command, open: OpenSession): void {
  family
    .command("groups [pipeline]", { isDefault: true })
    .description("open dead letters by cause, largest first")
    .addHelpText("after", "\nExample:\n  onedata dead-letters groups movies")
    .action(async (pipeline: string | undefined, _options: object, command: Command) => {
      const { api, out } = open(command);
      const { groups } = await api().get("/v1/dead-letters:groups", { pipeline });
      await out.table<Row<DeadLetterGroup> & JsonObject>(
        Array.isArray(groups) ? groups.filter(isJsonObject) : [],
        [
          { head: "COUNT", of: ({ count: size }) => number(size), align: "right" },
          { head: "PIPELINE", of: ({ pipeline: name }) => cell(name) },
          { head: "AT", of: ({ step }) => cell(step) },
          { head: "CODE", of: ({ code }) => cell(code), paint: out.style.red },
          { head: "SINCE", of: ({ sinceVersion }) => (count(sinceVersion) === 0 ? "" : `version ${number(sinceVersion)}`) },
          { head: "FIRST SEEN", of: ({ firstSeenAt }) => time(firstSeenAt) },
          { head: "LAST SEEN", of: ({ lastSeenAt }) => time(lastSeenAt) },
          { head: "FINGERPRINT", of: ({ fingerprint }) => cell(fingerprint) },
          { head: "EXAMPLE", of: ({ example }) => (isJsonObject(example) ? cell(example["message"]) : "") },
        ],
        "no open dead letters",
      );
      if (Array.isArray(groups) && groups.length > 0)
        out.note(out.noteStyle.dim("to mend a cause: onedata dead-letters fix <fingerprint> --spec new.yaml"));
    });
  addFilterOptions(family.command("list [pipeline]"))
    .description("dead letters, newest first")
    .addOption(new Option("--state <state>", "only these").choices(["open", "replaying", "replayed", "discarded"]))
    .option("--fingerprint <fingerprint>", "only of this cause (see groups)")
    .option("--limit <n>", "at most", toCount, 20)
    .addHelpText("after", "\nExample:\n  onedata dead-letters list movies --limit 100 --json | jq .payload")
    .action(async (pipeline: string | undefined, { limit, diedIn, ...filter }: ListOptions, command: Command) => {
      const { api, out } = open(command);
      const letters = await api().list("/v1/dead-letters", "deadLetters", { limit, query: { pipeline, version: diedIn, ...filter } });
      await out.table<Row<DeadLetter> & JsonObject>(
        letters,
        [
          { head: "DEAD LETTER", of: ({ id }) => cell(id) },
          { head: "EVENT", of: ({ event }) => cell(event) },
          { head: "PIPELINE", of: ({ pipeline: name }) => cell(name) },
          { head: "AT", of: ({ step, sink }) => (isText(step) ? step : cell(sink)) },
          { head: "CODE", of: ({ code }) => cell(code), paint: out.style.red },
          { head: "STATE", of: ({ state }) => cell(state), paint: (text) => paintState(text, out.style) },
          { head: "WHEN", of: ({ createdAt }) => time(createdAt) },
          { head: "MESSAGE", of: ({ message, payload }) => `${cell(message)}  ${compact(payload)}` },
        ],
        "no such dead letters",
      );
    });
  family
    .command("show <dead-letter>")
    .description("one dead letter")
    .addHelpText("after", "\nExample:\n  onedata dead-letters show dl_1f")
    .action(async (id: string, _options: object, command: Command) => {
      const session = open(command);
      await show(session, await session.api().get(`/v1/dead-letters/${segment(id)}`));
    });
}

async function show({ out }: Session, letter: Row<DeadLetter> & JsonObject): Promise<void> {
  if (out.isJson) return out.json(letter);
  const { style } = out;
  const field = (name: string, shown: string): Promise<void> =>
    shown === "" ? Promise.resolve() : out.line(`${style.dim(name.padEnd(12))} ${shown}`);
  await field("dead letter", style.bold(cell(letter.id)));
  await field("event", cell(letter.event));
  await field("pipeline", `${cell(letter.pipeline)}${count(letter.version) === 0 ? "" : ` version ${number(letter.version)}`}`);
  await field("state", `${paintState(cell(letter.state), style)}${isText(letter.reason) ? `  ${letter.reason}` : ""}`);
  await field("job", cell(letter.job));
  await field("died", `${time(letter.createdAt)} at ${style.bold(isText(letter.step) ? letter.step : cell(letter.sink))}`);
  await field("because", `${style.red(cell(letter.code))}  ${cell(letter.message)}`);
  await field("cause", cell(letter.fingerprint));
  await field("trace", cell(letter.traceId));
  await field("payload", compact(letter.payload));
  if (letter.state === "open") out.note(style.dim(`to change it and run it again: onedata dead-letters edit ${cell(letter.id)}`));
}
