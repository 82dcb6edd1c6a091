/** `run`: a pipeline over a stream of records, with no server. Results go to stdout as NDJSON, everything else elsewhere. */
import { createReadStream, createWriteStream } from "node:fs";
import { finished } from "node:stream/promises";
import { parseJson } from "@onedata/formats";
import { type Command, Option } from "commander";
import { Exit, exitCodes } from "../failure.ts";
import { delimiters, type Format, formats, readInputRecords } from "../local/input.ts";
import type { Casualty, RunTotals } from "../local/run-records.ts";
import { plural } from "../output/cells.ts";
import { write } from "../output/printer.ts";
import { createProgress } from "../output/progress.ts";
import type { Style } from "../output/style.ts";
import type { OpenSession, Session } from "../session.ts";
import { addLocalOptions, type LocalCommandOptions, toLocalOptions } from "./local-options.ts";

type RunOptions = LocalCommandOptions & {
  readonly format?: Format;
  readonly delimiter?: string;
  readonly dead?: string;
  readonly allowDead?: boolean;
  readonly quiet?: boolean;
};

export function addRunCommand(program: Command, open: OpenSession): void {
  addLocalOptions(program.command("run <spec> [file]"))
    .description("run a pipeline over a file or stdin with no server: NDJSON out, sinks are not written")
    .addOption(new Option("--format <format>", "of the input; found out if not said").choices(formats))
    .addOption(new Option("--delimiter <character>", "of CSV; found out if not said").choices(Object.keys(delimiters)))
    .option("--dead <file>", "dead letters and rejected lines as NDJSON (default: stderr, for people)")
    .option("--allow-dead", "exit code 0 even if records died or were rejected")
    .option("--quiet", "no summary")
    .addHelpText(
      "after",
      "\nExample:\n  onedata run examples/movies.yaml < movies.json > clean.ndjson\n  onedata run examples/airports.yaml airports.csv --dead dead.ndjson | jq .state_name",
    )
    .action(async (spec: string, file: string | undefined, options: RunOptions, command: Command) => run(open(command), spec, file, options));
}

/** The whole engine: commands that call a server do without. (In a function with `await using`, tsc 6.0 would leave these paths as they are.) */
const importEngine = () => Promise.all([import("../local/pipeline.ts"), import("../local/run-records.ts")]);

async function run({ terminal, out, signal }: Session, spec: string, file: string | undefined, options: RunOptions): Promise<void> {
  const [{ openLocalPipeline }, { runRecords }] = await importEngine();
  await using pipeline = await openLocalPipeline(spec, toLocalOptions(options));
  for (const { pointer, detail, line } of pipeline.checked.warnings)
    terminal.stderr.write(`warning: ${line > 0 ? `line ${line}, ` : ""}${pointer}: ${detail}\n`);
  const bytes: AsyncIterable<Uint8Array> = file === undefined || file === "-" ? terminal.stdin : createReadStream(file);
  const isTyped = file === undefined && terminal.stdin.isTTY === true;
  if (isTyped) out.note("reading records from the terminal, one JSON value per line; Ctrl-D ends");
  const input = await readInputRecords(bytes, { format: options.format, delimiter: delimiters[options.delimiter ?? ""], fileName: file });
  const style = out.noteStyle;
  const progress = createProgress(terminal, !isTyped && terminal.stdout.isTTY !== true);
  const startedMs = performance.now();
  const deadFile = options.dead === undefined ? undefined : createWriteStream(options.dead);
  const causes = new Map<string, number>();
  let hasNumbersAsText = false;
  const totals = await runRecords(
    pipeline,
    input,
    {
      results: (texts) => (texts.length === 0 ? Promise.resolve() : write(terminal.stdout, `${texts.join("\n")}\n`)),
      async casualty(casualty) {
        const cause = `${casualty.step} ${casualty.code}`;
        causes.set(cause, (causes.get(cause) ?? 0) + 1);
        hasNumbersAsText ||= NUMBER_AS_TEXT.test(casualty.message);
        if (deadFile !== undefined) return write(deadFile, `${JSON.stringify(toDeadLetter(casualty))}\n`);
        progress.clear();
        return write(terminal.stderr, out.isJson ? `${JSON.stringify(toDeadLetter(casualty))}\n` : `${describe(casualty, style)}\n`);
      },
      progress: (now) => progress.show(`${now.read.toLocaleString("en-US")} records, ${rate(now.read, startedMs)}`),
    },
    signal,
  );
  progress.clear();
  if (deadFile !== undefined) await finished(deadFile.end());
  if (options.quiet !== true) summarize({ terminal, out }, totals, { startedMs, causes });
  if (hasNumbersAsText && !out.isJson)
    out.note(
      "numbers come as texts, as every cell of CSV does: leave the types out of input.schema, and make record.cast the first step, with: { fields: { price: number } }",
    );
  if (totals.dead + totals.rejected > 0 && options.allowDead !== true) throw new Exit(exitCodes.problem);
}

/** The record as JSON where it is JSON: rejected lines need not be. */
function toDeadLetter({ record, kind, ...casualty }: Casualty) {
  const isJson = kind === "dead" || casualty.code === "capture.schema_mismatch";
  return { kind, ...casualty, ...(isJson && record !== "" ? { record: parsed(record) } : { excerpt: record }) };
}

const parsed = (text: string): unknown => {
  // Numbers beyond double precision stay what they are as text.
  const value: unknown = JSON.parse(text);
  return JSON.stringify(parseJson(text)) === JSON.stringify(value) ? value : text;
};

const describe = ({ kind, line, step, code, message }: Casualty, style: Style): string =>
  `${style.dim(`line ${line}:`)} ${style.red(kind)} at ${style.bold(step)}: ${message} ${style.dim(`[${code}]`)}`;

/** What a schema says of `"2"` where it wants a number. */
const NUMBER_AS_TEXT = /must be an? (number|integer)\b.*, is "\s*[-+]?[\d.,]+\s*"/;

const rate = (count: number, startedMs: number): string =>
  `${Math.round((count / Math.max(performance.now() - startedMs, 1)) * 1000).toLocaleString("en-US")}/s`;

function summarize(
  { terminal, out }: Pick<Session, "terminal" | "out">,
  totals: RunTotals,
  { startedMs, causes }: { startedMs: number; causes: ReadonlyMap<string, number> },
): void {
  if (out.isJson) {
    terminal.stderr.write(`${JSON.stringify({ summary: totals })}\n`);
    return;
  }
  const style = out.noteStyle;
  const figures = [
    plural(totals.read, "record"),
    style.green(`${totals.delivered.toLocaleString("en-US")} delivered`),
    `${totals.filtered.toLocaleString("en-US")} filtered`,
    (totals.dead > 0 ? style.red : style.dim)(`${totals.dead.toLocaleString("en-US")} dead`),
    (totals.rejected > 0 ? style.red : style.dim)(`${totals.rejected.toLocaleString("en-US")} rejected`),
    plural(totals.results, "result"),
    style.dim(rate(totals.read, startedMs)),
  ];
  terminal.stderr.write(`${figures.join("  ")}\n`);
  for (const [cause, count] of [...causes].sort((a, b) => b[1] - a[1]).slice(0, 10))
    terminal.stderr.write(style.dim(`  ${String(count).padStart(7)} × ${cause}\n`));
}
