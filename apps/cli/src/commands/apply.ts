/** `apply` and `diff`: a spec file becomes a version, or would. */
import type { ApplyPipelineResponse, Change, pipelineV1, TestResult } from "@onedata/contracts";
import { isJsonObject, type Json, type JsonObject } from "@onedata/core";
import type { Command } from "commander";
import { segment } from "../api/api.ts";
import { cell, compact, number, objects, plural, type Row } from "../output/cells.ts";
import type { Printer } from "../output/printer.ts";
import type { OpenSession, Session } from "../session.ts";
import { readSpecFile, type SpecFile } from "./arguments.ts";
import { printSample } from "./sample.ts";
import { onEverySave } from "./watch.ts";

type ApplyOptions = {
  readonly dryRun?: boolean;
  readonly activate: boolean;
  readonly ifMatch?: string;
  readonly force?: boolean;
  readonly watch?: boolean;
};

export function addApplyCommands(program: Command, open: OpenSession): void {
  program
    .command("apply <file>")
    .description("check a spec, run its tests, store it as a version and activate it")
    .option("--dry-run", "check only: says what would change")
    .option("--no-activate", "store the version, run the old one")
    .option("--if-match <etag>", "refuse when the pipeline has another etag")
    .option("--force", "also when events would die that live now")
    .option("--watch", "again whenever the file is saved")
    .addHelpText("after", "\nExample:\n  onedata apply examples/orders.yaml --dry-run")
    .action(async (file: string, options: ApplyOptions, command: Command) => {
      const session = open(command);
      const once = async (): Promise<void> => {
        const given = readSpecFile(file);
        const answer = await apply(session, given, options);
        await (session.out.isJson ? session.out.json(answer) : printApplied(session.out, answer, given.spec));
      };
      await (options.watch === true ? onEverySave(session, file, once) : once());
    });
  program
    .command("diff <file>")
    .description("what apply would change, against the active version")
    .addHelpText("after", "\nExample:\n  onedata diff examples/orders.yaml")
    .action(async (file: string, _options: object, command: Command) => {
      const session = open(command);
      const given = readSpecFile(file);
      const answer: Row<ApplyPipelineResponse> = await apply(session, given, { dryRun: true, activate: true });
      const changes = objects(answer.diff);
      if (isNewPipeline(answer)) {
        if (session.out.isJson) await session.out.json({ op: "add", pointer: "", after: given.spec });
        else await session.out.line(`${session.out.style.bold(given.pipeline)} ${describeNew(given.spec)}`);
        return;
      }
      if (session.out.isJson) for (const change of changes) await session.out.json(change);
      else if (changes.length === 0) session.out.note("no difference");
      else await printDiff(session.out, changes);
    });
}

async function apply(
  session: Session,
  { pipeline, text, mediaType }: SpecFile,
  { dryRun, activate, ifMatch, force }: ApplyOptions,
): Promise<JsonObject> {
  return session.api().call("PUT", `/v1/pipelines/${segment(pipeline)}`, {
    query: { dryRun, force, ...(activate ? {} : { activate: false }) },
    content: { data: text, mediaType },
    ...(ifMatch === undefined ? {} : { headers: { "if-match": ifMatch } }),
  });
}

/** Its first version: there is nothing to differ from. */
const isNewPipeline = ({ created, version }: Row<ApplyPipelineResponse>): boolean => created === true && version === 1;

function describeNew(spec: Json): string {
  const count = (member: string): number => {
    const list = isJsonObject(spec) ? spec[member] : undefined;
    return Array.isArray(list) ? list.length : 0;
  };
  const sinks = count("sinks") === 0 ? "results are kept in OneData" : plural(count("sinks"), "sink");
  return `is a new pipeline: ${plural(count("steps"), "step")}, ${sinks}, ${plural(count("tests"), "test")}`;
}

async function printApplied(out: Printer, answer: Row<ApplyPipelineResponse>, spec: Json): Promise<void> {
  const pipeline = isJsonObject(answer.pipeline) ? answer.pipeline : {};
  const { style } = out;
  const changes = objects(answer.diff);
  const tests = objects(answer.tests);
  const name = style.bold(cell(pipeline["name"]));
  if (answer.dryRun === true)
    await out.line(`${name} ${isNewPipeline(answer) ? `${describeNew(spec)}; ` : ""}${style.yellow("dry run")}: nothing was stored`);
  else await out.line(`${name} version ${number(answer.version)} ${describeVersion(answer, pipeline["activeVersion"], changes.length > 0)}`);
  if (changes.length > 0) await printDiff(out, changes);
  if (tests.length > 0) await printTests(out, tests);
  await printSample(out, answer.sample);
  for (const warning of objects(answer.warnings)) await printProblem(out, warning);
}

function describeVersion({ version, created }: Row<ApplyPipelineResponse>, active: Json | undefined, hasChanged: boolean): string {
  if (created === true) return active === version ? "is active" : `is stored; active is ${number(active)}`;
  if (active !== version) return `was stored before; active is ${number(active)}`;
  return hasChanged ? "was stored before and is active now" : "is this spec already: nothing has changed";
}

export async function printDiff(out: Printer, changes: readonly JsonObject[]): Promise<void> {
  const { style } = out;
  for (const change of changes) {
    const { op, pointer, before, after }: Row<Change> = change;
    const value = (json: typeof before): string => compact(json ?? null);
    const place = style.cyan(pointer === "" ? "the spec" : cell(pointer));
    if (op === "add") await out.line(`  ${style.green("+")} ${place} ${value(after)}`);
    else if (op === "remove") await out.line(`  ${style.red("-")} ${place} ${value(before)}`);
    else await out.line(`  ${style.yellow("~")} ${place} ${style.red(value(before))} → ${style.green(value(after))}`);
  }
}

export async function printTests(out: Printer, tests: readonly JsonObject[]): Promise<void> {
  const { style } = out;
  for (const test of tests) {
    const { name, passed, detail }: Row<TestResult> = test;
    await out.line(`  ${passed === true ? style.green("✓") : style.red("✗")} ${cell(name)}${passed === true ? "" : `\n      ${cell(detail)}`}`);
  }
  const failed = tests.filter(({ passed }: Row<TestResult>) => passed !== true).length;
  await out.line(style.dim(`  ${plural(tests.length, "test")}, ${failed === 0 ? "all passed" : `${failed} failed`}`));
}

async function printProblem(out: Printer, { pointer, detail, line }: Row<pipelineV1.Problem>): Promise<void> {
  out.note(`  ${out.noteStyle.yellow("warning")} ${typeof line === "number" && line > 0 ? `line ${line}, ` : ""}${cell(pointer)}: ${cell(detail)}`);
}
