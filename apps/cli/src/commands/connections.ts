/** `connections`: named addresses with secrets. Secrets come from the environment or stdin, never from the command line, which others can read. */
import type { connectionV1, TestConnectionResponse } from "@onedata/contracts";
import type { JsonObject } from "@onedata/core";
import { type Command, Option } from "commander";
import { segment } from "../api/api.ts";
import { Exit, exitCodes, Failure } from "../failure.ts";
import { cell, compact, objects, type Row, time } from "../output/cells.ts";
import type { OpenSession } from "../session.ts";
import { readAll, toPairs } from "./arguments.ts";
import { askSecret } from "./ask.ts";

type PutOptions = {
  readonly kind: string;
  readonly set?: Record<string, string>;
  readonly secretEnv?: Record<string, string>;
  readonly secretStdin?: string;
};

const at = (name: string, rest = ""): string => `/v1/connections/${segment(name)}${rest}`;

export function addConnectionCommands(program: Command, open: OpenSession): void {
  const family = program.command("connections").description("named addresses with secrets, for sinks and steps");
  family
    .command("list", { isDefault: true })
    .description("every connection, without secrets")
    .addHelpText("after", "\nExample:\n  onedata connections list")
    .action(async (_options: object, command: Command) => {
      const { api, out } = open(command);
      const { connections } = await api().get("/v1/connections");
      await out.table<Row<connectionV1.Connection> & JsonObject>(
        objects(connections),
        [
          { head: "CONNECTION", of: ({ name }) => cell(name), paint: out.style.bold },
          { head: "KIND", of: ({ kind }) => cell(kind) },
          { head: "SECRETS", of: ({ secretNames }) => cell(secretNames) },
          { head: "CHANGED", of: ({ updatedAt }) => time(updatedAt) },
          { head: "CONFIG", of: ({ config }) => compact(config) },
        ],
        "no connections",
      );
    });
  family
    .command("put <name>")
    .description("create or replace a connection")
    .addOption(new Option("--kind <kind>", "what it leads to").choices(["postgres", "http"]).makeOptionMandatory())
    .option("--set <name=value>", "a part of the address, repeated: host, port, database, user, url", toPairs)
    .option("--secret-env <secret=VARIABLE>", "takes a secret from a variable of the environment, repeated", toPairs)
    .option("--secret-stdin <secret>", "takes one secret from stdin (a terminal is asked without echo)")
    .addHelpText(
      "after",
      "\nExample:\n  onedata connections put warehouse --kind postgres --set host=db.internal --set database=dwh --set user=etl --secret-stdin password < password.txt",
    )
    .action(async (name: string, options: PutOptions, command: Command) => {
      const session = open(command);
      const { terminal, out } = session;
      const secrets: Record<string, string> = {};
      for (const [secret, variable] of Object.entries(options.secretEnv ?? {})) {
        const value = terminal.env[variable];
        if (value === undefined) throw new Failure(`the environment has no ${variable}`, exitCodes.usage);
        secrets[secret] = value;
      }
      if (options.secretStdin !== undefined) {
        secrets[options.secretStdin] =
          terminal.stdin.isTTY === true
            ? await askSecret(terminal, `${options.secretStdin}: `)
            : (await readAll(terminal.stdin)).toString("utf8").replace(/\r?\n$/, "");
      }
      const config = Object.fromEntries(Object.entries(options.set ?? {}).map(([part, value]) => [part, toScalar(part, value)]));
      const answer = await session.api().call("PUT", at(name), { body: { kind: options.kind, config, secrets } });
      if (out.isJson) return out.json(answer);
      await out.line(
        `${out.style.bold(name)} is kept${Object.keys(secrets).length > 0 ? `, with ${Object.keys(secrets).join(", ")} encrypted` : ""}`,
      );
      out.note(`try it: onedata connections test ${name}`);
    });
  family
    .command("test <name>")
    .description("try a connection")
    .addHelpText("after", "\nExample:\n  onedata connections test warehouse")
    .action(async (name: string, _options: object, command: Command) => {
      const { api, out } = open(command);
      const answer: Row<TestConnectionResponse> & JsonObject = await api().call("POST", at(name, ":test"), { body: {} });
      if (out.isJson) await out.json(answer);
      else
        await out.line(
          answer.ok === true ? `${name} ${out.style.green("works")}` : `${name} ${out.style.red("does not work")}: ${cell(answer.problem)}`,
        );
      if (answer.ok !== true) throw new Exit(exitCodes.problem);
    });
  family
    .command("delete <name>")
    .description("refused while an active version uses it")
    .addHelpText("after", "\nExample:\n  onedata connections delete warehouse")
    .action(async (name: string, _options: object, command: Command) => {
      const { api, out } = open(command);
      await api().call("DELETE", at(name));
      out.note(`${name} is deleted`);
    });
}

/** Ports are numbers and switches are booleans in a connection's config; everything else is text, also a database named 2024. */
function toScalar(part: string, value: string): string | number | boolean {
  if (/^(port|.*Ms|max[A-Z].*)$/.test(part) && /^\d+$/.test(value)) return Number(value);
  return value === "true" || value === "false" ? value === "true" : value;
}
