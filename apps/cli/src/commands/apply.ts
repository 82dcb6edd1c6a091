/** `apply` and `diff`: a spec file becomes a version, or would. */
import type { ApplyPipelineResponse, Change, pipelineV1, TestResult } from "@onedata/contracts";
import { isJsonObject, type Json, type JsonObject } from "@onedata/core";
import type { Command } from "commander";
import { segment } from "../api/api.ts";
import { cell, compact, number, objects, plural, type Row } from "../output/cells.ts";
import type { Printer } from "../output/printer.ts";
import type { OpenSession, Session } from "../session.ts";
import { readSpecFile } from "./arguments.ts";
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
    .option("--force", "accept what would be refused as risky")
    .option("--watch", "again whenever the file is saved")
    .addHelpText("after", "\nExample:\n  onedata apply examples/orders.yaml --dry-run")
    .action(async (file: string, options: ApplyOptions, command: Command) => {
      const session = open(command);
      const once = async (): Promise<void> => {
        const answer = await apply(session, file, options);
        await (session.out.isJson ? session.out.json(answer) : printApplied(session.out, answer));
      };
      await (options.watch === true ? onEverySave(session, file, once) : once());
    });
  program
    .command("diff <file>")
    .description("what apply would change, against the active version")
    .addHelpText("after", "\nExample:\n  onedata diff examples/orders.yaml")
    .action(async (file: string, _options: object, command: Command) => {
      const session = open(command);
      const answer: Row<ApplyPipelineResponse> = await apply(session, file, { dryRun: true, activate: true });
      const changes = objects(answer.diff);
      if (session.out.isJson) for (const change of changes) await session.out.json(change);
      else if (changes.length === 0) session.out.note("no difference");
      else await printDiff(session.out, changes);
    });
}

async function apply(session: Session, file: string, { dryRun, activate, ifMatch, force }: ApplyOptions): Promise<JsonObject> {
  const { pipeline, text, mediaType } = readSpecFile(file);
  return session.api().call("PUT", `/v1/pipelines/${segment(pipeline)}`, {
    query: { dryRun, force, ...(activate ? {} : { activate: false }) },
    content: { data: text, mediaType },
    ...(ifMatch === undefined ? {} : { headers: { "if-match": ifMatch } }),
  });
}

async function printApplied(out: Printer, answer: Row<ApplyPipelineResponse>): Promise<void> {
  const pipeline = isJsonObject(answer.pipeline) ? answer.pipeline : {};
  const { style } = out;
  const changes = objects(answer.diff);
  const tests = objects(answer.tests);
  const name = style.bold(cell(pipeline["name"]));
  if (answer.dryRun === true) await out.line(`${name} ${style.yellow("dry run")}: nothing was stored`);
  else await out.line(`${name} version ${number(answer.version)} ${describeVersion(answer, pipeline["activeVersion"], changes.length > 0)}`);
  if (changes.length > 0) await printDiff(out, changes);
  if (tests.length > 0) await printTests(out, tests);
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
