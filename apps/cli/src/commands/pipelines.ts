/** `pipelines`, `versions`, `stats`, and what changes a pipeline's state: pause, resume, activate, rollback, delete. */
import type { Pipeline, Stats, Version } from "@onedata/contracts";
import type { JsonObject } from "@onedata/core";
import type { Command } from "commander";
import { segment } from "../api/api.ts";
import { exitCodes, Failure } from "../failure.ts";
import { cell, number, type Row, time } from "../output/cells.ts";
import { paintState } from "../output/style.ts";
import type { OpenSession, Session } from "../session.ts";
import { toCount } from "./arguments.ts";

const LIMIT = 1000;
const at = (pipeline: string, rest = ""): string => `/v1/pipelines/${segment(pipeline)}${rest}`;

export function addPipelineCommands(program: Command, open: OpenSession): void {
  program
    .command("pipelines")
    .description("every pipeline, its state and active version")
    .addHelpText("after", "\nExample:\n  onedata pipelines --json | jq -r .name")
    .action(async (_options: object, command: Command) => {
      const { api, out } = open(command);
      await out.table<Row<Pipeline> & JsonObject>(
        await api().list("/v1/pipelines", "pipelines", { limit: LIMIT }),
        [
          { head: "PIPELINE", of: ({ name }) => cell(name), paint: out.style.bold },
          { head: "STATE", of: ({ state }) => cell(state), paint: (text) => paintState(text, out.style) },
          { head: "VERSION", of: ({ activeVersion }) => number(activeVersion), align: "right" },
          { head: "CHANGED", of: ({ updatedAt }) => time(updatedAt) },
          { head: "SINKS", of: ({ sinks }) => cell(sinks) },
          { head: "DESCRIPTION", of: ({ description, reason }) => cell(reason) || cell(description) },
        ],
        "no pipelines yet: onedata init > my.yaml, then onedata apply my.yaml",
      );
    });
  program
    .command("versions <pipeline>")
    .description("versions of a pipeline, newest first")
    .option("--limit <n>", "at most", toCount, 20)
    .addHelpText("after", "\nExample:\n  onedata versions orders")
    .action(async (pipeline: string, { limit }: { limit: number }, command: Command) => {
      const { api, out } = open(command);
      await out.table<Row<Version> & JsonObject>(
        await api().list(at(pipeline, "/versions"), "versions", { limit }),
        [
          { head: "VERSION", of: ({ version }) => number(version), align: "right" },
          { head: "", of: ({ active }) => (active === true ? "active" : ""), paint: out.style.green },
          { head: "CREATED", of: ({ createdAt }) => time(createdAt) },
          { head: "BY", of: ({ createdBy }) => cell(createdBy) },
          { head: "HASH", of: ({ hash }) => cell(hash).slice(0, 12) },
        ],
        "no versions",
      );
    });
  program
    .command("stats <pipeline>")
    .description("backlog and verdicts of the last 24 hours")
    .addHelpText("after", "\nExample:\n  onedata stats orders")
    .action(async (pipeline: string, _options: object, command: Command) => {
      const { api, out } = open(command);
      const stats: Row<Stats> & JsonObject = await api().get(at(pipeline, "/stats"));
      if (out.isJson) return out.json(stats);
      const lines = [
        ["waiting", number(stats.waitingEvents), stats.oldestWaitingAt === undefined ? "" : `oldest since ${time(stats.oldestWaitingAt)}`],
        ["running", number(stats.runningEvents), ""],
        ["delivered", number(stats.delivered), "24 h"],
        ["filtered", number(stats.filtered), "24 h"],
        ["dead", number(stats.dead), `24 h; ${number(stats.openDeadLetters)} open`],
      ] as const;
      for (const [name, count, remark] of lines)
        await out.line(`${paintState(name, out.style)}${" ".repeat(11 - name.length)}${count.padStart(10)}  ${out.style.dim(remark)}`.trimEnd());
    });
  addStateCommands(program, open);
}

function addStateCommands(program: Command, open: OpenSession): void {
  program
    .command("pause <pipeline>")
    .description("stop processing; events are still captured")
    .option("--reason <text>", "for people who wonder")
    .addHelpText("after", '\nExample:\n  onedata pause orders --reason "warehouse is being moved"')
    .action(async (pipeline: string, { reason }: { reason?: string }, command: Command) =>
      change(open(command), at(pipeline, ":pause"), reason === undefined ? {} : { reason }),
    );
  program
    .command("resume <pipeline>")
    .description("take up work again")
    .addHelpText("after", "\nExample:\n  onedata resume orders")
    .action(async (pipeline: string, _options: object, command: Command) => change(open(command), at(pipeline, ":resume"), {}));
  program
    .command("activate <pipeline> <version>")
    .description("make a version the active one")
    .addHelpText("after", "\nExample:\n  onedata activate orders 3")
    .action(async (pipeline: string, version: string, _options: object, command: Command) =>
      change(open(command), at(pipeline, ":activate"), { version: toCount(version) }),
    );
  program
    .command("rollback <pipeline> [version]")
    .description("go back to a version; the one before the active one if not said")
    .addHelpText("after", "\nExample:\n  onedata rollback orders")
    .action(async (pipeline: string, version: string | undefined, _options: object, command: Command) => {
      const session = open(command);
      await change(session, at(pipeline, ":activate"), {
        version: version === undefined ? await versionBefore(session, pipeline) : toCount(version),
      });
    });
  program
    .command("delete <pipeline>")
    .description("refuse new events and drain; --discard makes the backlog dead letters")
    .option("--discard", "do not drain")
    .addHelpText("after", "\nExample:\n  onedata delete orders")
    .action(async (pipeline: string, { discard }: { discard?: boolean }, command: Command) => {
      const { api, out } = open(command);
      await printPipeline({ out }, await api().call("DELETE", at(pipeline), { query: { discard } }));
    });
}

async function versionBefore({ api }: Session, pipeline: string): Promise<number> {
  const versions = await api().list(at(pipeline, "/versions"), "versions", { limit: LIMIT });
  const active = versions.findIndex(({ active: isActive }) => isActive === true);
  const before = versions[active + 1]?.["version"];
  if (active < 0 || typeof before !== "number")
    throw new Failure(`${pipeline} has no version before the active one: onedata versions ${pipeline}`, exitCodes.problem);
  return before;
}

async function change(session: Session, path: string, body: JsonObject): Promise<void> {
  await printPipeline(session, await session.api().call("POST", path, { body }));
}

async function printPipeline({ out }: Pick<Session, "out">, pipeline: Row<Pipeline> & JsonObject): Promise<void> {
  if (out.isJson) return out.json(pipeline);
  await out.line(
    `${out.style.bold(cell(pipeline.name))} is ${paintState(cell(pipeline.state), out.style)} with version ${cell(pipeline.activeVersion)}${cell(pipeline.reason) === "" ? "" : out.style.dim(`  ${cell(pipeline.reason)}`)}`,
  );
}
