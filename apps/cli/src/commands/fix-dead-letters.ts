/**
 * `dead-letters fix`: from a cause to a mended pipeline in one go: what a new spec makes of the dead letters, a question, the new version, the replay.
 * Invariant: nothing is stored before the answer to the question.
 */
import type { DeadLetterGroup, DeadLetterPreview, PreviewDeadLettersResponse } from "@onedata/contracts";
import type { JsonObject } from "@onedata/core";
import type { Command } from "commander";
import { segment } from "../api/api.ts";
import { Exit, exitCodes, Failure } from "../failure.ts";
import { cell, compact, isText, number, objects, plural, type Row } from "../output/cells.ts";
import type { OpenSession, Session } from "../session.ts";
import { readSpecFile, type SpecFile, toCount } from "./arguments.ts";
import { confirm } from "./confirm.ts";
import { count, endWith } from "./follow-job.ts";

type FixOptions = {
  readonly spec: string;
  readonly limit: number;
  readonly rate?: number;
  readonly reason?: string;
  readonly dryRun?: boolean;
  readonly force?: boolean;
  readonly yes?: boolean;
  readonly wait: boolean;
};
type Group = Row<DeadLetterGroup> & JsonObject;
type Example = Row<DeadLetterPreview> & JsonObject;
type Preview = Row<PreviewDeadLettersResponse> & JsonObject;

const SHOWN_EXAMPLES = 2;

export function addFixCommand(family: Command, open: OpenSession): void {
  family
    .command("fix <fingerprint>")
    .description("mend a cause: try a new spec on its dead letters, apply it, run them again")
    .requiredOption("--spec <file>", "the new spec of the pipeline")
    .option("--limit <n>", "try it on at most so many of them", toCount, 200)
    .option("--rate <n>", "most events per second", toCount)
    .option("--reason <text>", "for people who wonder")
    .option("--dry-run", "only show what the new spec makes of them")
    .option("--force", "also when events would die that live now, or none of them would be saved")
    .option("--yes", "do not ask")
    .option("--no-wait", "do not follow the replay to its end")
    .addHelpText("after", "\nExample:\n  onedata dead-letters fix 1fd0d8a0c1f7a3b2 --spec new.yaml")
    .action(async (fingerprint: string, options: FixOptions, command: Command) => fix(open(command), fingerprint, options));
}

async function fix(session: Session, fingerprint: string, options: FixOptions): Promise<void> {
  const { out } = session;
  const spec = readSpecFile(options.spec);
  const group = await findGroup(session, fingerprint, spec);
  const filter = { pipeline: spec.pipeline, fingerprint };
  const preview: Preview = await session.api().call("POST", "/v1/dead-letters:preview", {
    body: { filter, document: spec.text, limit: Math.min(options.limit, 500) },
  });
  if (out.isJson) await out.json(preview);
  else await printPreview(session, group, preview);
  if (options.dryRun === true) return;
  if (count(preview.delivered) + count(preview.filtered) + count(preview.skipped) === 0 && options.force !== true)
    throw new Failure(
      `${options.spec} saves none of the ${number(preview.dead)} that were tried; nothing was applied (--force applies it all the same)`,
    );
  const question = `Apply ${options.spec} to ${spec.pipeline} and run ${plural(count(preview.matching), "dead letter")} again?`;
  if (!(await confirm(session, question, options.yes))) {
    out.note("nothing was applied");
    throw new Exit(exitCodes.problem);
  }
  const applied = await session.api().call("PUT", `/v1/pipelines/${segment(spec.pipeline)}`, {
    query: { force: options.force },
    content: { data: spec.text, mediaType: spec.mediaType },
  });
  out.note(`${spec.pipeline} version ${number(applied["version"])} is active`);
  const reason = options.reason ?? `fixed with version ${number(applied["version"])}`;
  const job = await session.api().call("POST", "/v1/dead-letters:replay", { body: { filter, reason, eventsPerSecond: options.rate ?? 0 } });
  await endWith(session, job, options);
}

async function findGroup({ api }: Session, fingerprint: string, spec: SpecFile): Promise<Group> {
  const { groups } = await api().get("/v1/dead-letters:groups");
  const all: Group[] = objects(groups);
  const known = all.filter((group) => group.fingerprint === fingerprint);
  const own = known.find(({ pipeline }) => pipeline === spec.pipeline);
  if (own !== undefined) return own;
  const [other] = known;
  if (other !== undefined)
    throw new Failure(`the cause ${fingerprint} is one of ${cell(other.pipeline)}; the spec is of ${spec.pipeline}`, exitCodes.usage);
  throw new Failure(`no open dead letters have the cause ${fingerprint}: onedata dead-letters groups`);
}

async function printPreview({ out }: Session, group: Group, preview: Preview): Promise<void> {
  const { style } = out;
  const tried = count(preview.delivered) + count(preview.filtered) + count(preview.dead) + count(preview.skipped);
  await out.line(
    `${style.bold(plural(count(preview.matching), "dead letter"))} of ${cell(group.pipeline)} at ${cell(group.step)}  ${style.red(cell(group.code))}${tried < count(preview.matching) ? style.dim(`  (tried on ${number(tried)} of them)`) : ""}`,
  );
  const rows = [
    ["would be delivered", preview.delivered, style.green],
    ["would be filtered", preview.filtered, style.dim],
    ["would die again", preview.dead, style.red],
    ["not decided", preview.skipped, style.yellow],
  ] as const;
  for (const [name, value, paint] of rows)
    await out.line(`  ${name.padEnd(20)} ${(count(value) > 0 ? paint : style.dim)(number(count(value)).padStart(8))}`);
  const examples: Example[] = objects(preview.examples);
  const kinds = [...new Set(examples.map(({ verdict }) => cell(verdict)))];
  // One of each kind first: what would still die is what people look for.
  const first = kinds.flatMap((kind) => examples.filter(({ verdict }) => verdict === kind).slice(0, 1));
  const shown = [...first, ...examples.filter((example) => !first.includes(example))].slice(0, Math.max(SHOWN_EXAMPLES, kinds.length));
  for (const { event, verdict, input, outputs, code, message } of shown) {
    await out.line(`  ${style.dim(cell(event))} ${cell(verdict)}`);
    await out.line(`    ${style.red("-")} ${compact(input)}`);
    for (const output of Array.isArray(outputs) ? outputs : []) await out.line(`    ${style.green("+")} ${compact(output)}`);
    if (isText(message)) await out.line(`    ${style.red("!")} ${isText(code) ? `${code}: ` : ""}${message}`);
  }
}
