/** `test`: the tests that a spec carries, here or on the server. */
import type { JsonObject } from "@onedata/core";
import type { Command } from "commander";
import { segment } from "../api/api.ts";
import { Exit, exitCodes } from "../failure.ts";
import { objects } from "../output/cells.ts";
import type { OpenSession, Session } from "../session.ts";
import { printTests } from "./apply.ts";
import { readSpecFile } from "./arguments.ts";
import { addLocalOptions, type LocalCommandOptions, toLocalOptions } from "./local-options.ts";
import { onEverySave } from "./watch.ts";

type TestOptions = LocalCommandOptions & { readonly remote?: boolean; readonly watch?: boolean };

export function addTestCommand(program: Command, open: OpenSession): void {
  addLocalOptions(program.command("test <file>"))
    .description("check a spec and run its tests, with no server; --remote lets the server do it, with its services and lists")
    .option("--remote", "on the server")
    .option("--watch", "again whenever the file is saved")
    .addHelpText("after", "\nExample:\n  onedata test examples/movies.yaml")
    .action(async (file: string, options: TestOptions, command: Command) => {
      const session = open(command);
      const once = (): Promise<void> => test(session, file, options);
      await (options.watch === true ? onEverySave(session, file, once) : once());
    });
}

async function test(session: Session, file: string, options: TestOptions): Promise<void> {
  const { out } = session;
  const tests =
    options.remote === true
      ? await testRemotely(session, file)
      : await testLocally(file, options, (warning) => out.note(`  ${out.noteStyle.yellow("warning")} ${warning}`));
  if (out.isJson) for (const test of tests) await out.json(test);
  else if (tests.length === 0) out.note(`${file} is valid, and has no tests: add some under tests:`);
  else await printTests(out, tests);
  if (tests.some(({ passed }) => passed !== true)) throw new Exit(exitCodes.problem);
}

async function testRemotely({ api }: Session, file: string): Promise<JsonObject[]> {
  const { pipeline, text } = readSpecFile(file);
  const { tests } = await api().call("POST", `/v1/pipelines/${segment(pipeline)}:test`, { body: { document: text } });
  return objects(tests);
}

/** Not in a function with `await using`: tsc 6.0 would leave the path as it is. */
const importEngine = () => Promise.all([import("../local/pipeline.ts"), import("@onedata/core")]);

async function testLocally(file: string, options: TestOptions, warn: (text: string) => void): Promise<JsonObject[]> {
  const [{ openLocalPipeline }, { runSpecTests }] = await importEngine();
  await using pipeline = await openLocalPipeline(file, toLocalOptions(options));
  for (const { pointer, detail, line } of pipeline.checked.warnings) warn(`${line > 0 ? `line ${line}, ` : ""}${pointer}: ${detail}`);
  return (await runSpecTests(pipeline.subject, pipeline.checked.spec.tests, pipeline.deps)).map((outcome) => ({ ...outcome }));
}
