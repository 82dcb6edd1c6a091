/** `import`, `imports` and `rejects`: files and streams in, with progress until every record has its verdict. */
import type { Import, Reject } from "@onedata/contracts";
import type { JsonObject } from "@onedata/core";
import { type Command, Option } from "commander";
import { segment } from "../api/api.ts";
import { exitCodes, Failure } from "../failure.ts";
import { delimiters, formats } from "../local/input.ts";
import { cell, number, plural, type Row, time } from "../output/cells.ts";
import { createProgress } from "../output/progress.ts";
import { paintState } from "../output/style.ts";
import type { OpenSession, Session } from "../session.ts";
import { toCount } from "./arguments.ts";
import { pause } from "./pause.ts";
import { type ImportOptions, uploadImport } from "./upload-import.ts";

const FOLLOW_MS = 250;

export function addImportCommands(program: Command, open: OpenSession): void {
  program
    .command("import <pipeline> <file>")
    .description("stream a file (or stdin: -) into a pipeline and follow it until all of it is done")
    .addOption(new Option("--format <format>", "found out from the file if not said").choices(formats))
    .addOption(new Option("--delimiter <character>", "of CSV; found out if not said").choices(Object.keys(delimiters)))
    .addOption(new Option("--empty-as <what>", "what an empty cell of CSV becomes").choices(["string", "null", "omit"]))
    .option("--key <key>", "names the import, so that it can go on after it was cut off")
    .option("--resume", "go on with the import of this --key where it was cut off")
    .option("--no-wait", "do not follow: end when everything is captured")
    .addHelpText(
      "after",
      "\nFiles that end in .gz are sent as they are. Memory is bounded at any size.\n\nExample:\n  onedata import airports airports.csv\n  onedata import flights flights.ndjson.gz --key flights-2001 --resume",
    )
    .action(async (pipeline: string, file: string, options: ImportOptions, command: Command) => {
      const session = open(command);
      if (options.resume === true && options.key === undefined)
        throw new Failure("--resume needs the --key that the import was begun with", exitCodes.usage);
      const received = await uploadImport(session, pipeline, file, options);
      const answer = options.wait ? await follow(session, received) : received;
      await summarize(session, answer);
    });
  program
    .command("imports [pipeline]")
    .description("imports, newest first")
    .option("--limit <n>", "at most", toCount, 20)
    .addHelpText("after", "\nExample:\n  onedata imports flights")
    .action(async (pipeline: string | undefined, { limit }: { limit: number }, command: Command) => {
      const { api, out } = open(command);
      await out.table<Row<Import> & JsonObject>(
        await api().list("/v1/imports", "imports", { limit, query: { pipeline } }),
        [
          { head: "IMPORT", of: ({ id }) => cell(id) },
          { head: "PIPELINE", of: ({ pipeline: name }) => cell(name) },
          { head: "STATE", of: ({ state }) => cell(state), paint: (text) => paintState(text, out.style) },
          { head: "ACCEPTED", of: ({ accepted }) => number(accepted), align: "right" },
          { head: "REJECTED", of: ({ rejected }) => number(rejected), align: "right" },
          { head: "DELIVERED", of: ({ delivered }) => number(delivered), align: "right" },
          { head: "FILTERED", of: ({ filtered }) => number(filtered), align: "right" },
          { head: "DEAD", of: ({ dead }) => number(dead), align: "right" },
          { head: "BEGUN", of: ({ createdAt }) => time(createdAt) },
          { head: "WAITING FOR", of: ({ waitingFor }) => cell(waitingFor) },
        ],
        "no imports yet",
      );
    });
  program
    .command("rejects <import>")
    .description("lines of an import that could not be read, with why")
    .addHelpText("after", "\nExample:\n  onedata rejects imp_1f --json > rejected.ndjson")
    .action(async (id: string, _options: object, command: Command) => {
      const { api, out } = open(command);
      let count = 0;
      for await (const reject of api().stream(`/v1/imports/${segment(id)}/rejects`)) {
        count += 1;
        const { line, code, detail, excerpt }: Row<Reject> & JsonObject = reject;
        if (out.isJson) await out.json(reject);
        else
          await out.line(
            `${out.style.dim("line")} ${cell(line)}  ${cell(detail)} ${out.style.dim(`[${cell(code)}]`)}\n  ${out.style.red(cell(excerpt))}`,
          );
      }
      if (count === 0) out.note("no rejected lines");
    });
}

/** Polls until the import has ended; Ctrl-C leaves it running. */
async function follow(session: Session, received: Row<Import> & JsonObject): Promise<Row<Import> & JsonObject> {
  const { out, signal, terminal } = session;
  const api = session.api();
  const id = cell(received.id);
  const progress = createProgress(terminal, !out.isJson);
  const startedMs = performance.now();
  let now: Row<Import> & JsonObject = received;
  try {
    while (now.state === "receiving" || now.state === "processing") {
      const [accepted, waiting] = [count(now.accepted), count(now.waiting)];
      const done = accepted - waiting;
      const waitingFor = cell(now.waitingFor) === "" ? "" : `  ${cell(now.waitingFor)}`;
      progress.show(
        `${number(done)} of ${number(accepted)} done  ${number(now.dead)} dead  ${number(now.rejected)} rejected  ${Math.round((done / Math.max(performance.now() - startedMs, 1)) * 1000).toLocaleString("en-US")}/s${waitingFor}`,
        accepted === 0 ? 0 : done / accepted,
      );
      await pause(FOLLOW_MS, signal);
      now = await api.get(`/v1/imports/${segment(id)}`);
    }
  } catch (error) {
    if (signal.aborted) {
      progress.clear();
      out.note(`${id} goes on without you: onedata imports`);
    }
    throw error;
  } finally {
    progress.clear();
  }
  return now;
}

async function summarize({ out }: Session, answer: Row<Import> & JsonObject): Promise<void> {
  if (out.isJson) return out.json(answer);
  const { style } = out;
  const id = cell(answer.id);
  const loss = (text: string, value: number): string => (value > 0 ? style.red(text) : style.dim(text));
  const figures = [
    `${style.bold(id)} ${paintState(cell(answer.state), style)}`,
    plural(count(answer.accepted), "record"),
    ...(answer.state === "processing"
      ? []
      : [
          style.green(`${number(answer.delivered)} delivered`),
          `${number(answer.filtered)} filtered`,
          loss(`${number(answer.dead)} dead`, count(answer.dead)),
        ]),
    loss(`${number(answer.rejected)} rejected`, count(answer.rejected)),
  ];
  await out.line(figures.join("  "));
  if (count(answer.dead) > 0) out.note(`why records died: onedata dead-letters groups ${cell(answer.pipeline)}`);
  if (count(answer.rejected) > 0) out.note(`rejected lines: onedata rejects ${id}`);
}

const count = (value: unknown): number => (typeof value === "number" ? value : 0);
