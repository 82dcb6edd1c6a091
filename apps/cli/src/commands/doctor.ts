/**
 * `doctor`: what is wrong and what to do. First what this machine can see alone, then what the installation says of itself.
 * Exit codes: 0 all is well or there are warnings only, 1 something failed, 3 the server cannot be reached.
 */
import type { Finding } from "@onedata/contracts";
import { isJsonObject, type JsonObject } from "@onedata/core";
import type { Command } from "commander";
import { createApi } from "../api/api.ts";
import { checkServer } from "../api/check-server.ts";
import { type Credentials, readCredentials } from "../api/credentials.ts";
import { Exit, exitCodes, explain, Refused } from "../failure.ts";
import { cell, plural, type Row } from "../output/cells.ts";
import type { Printer } from "../output/printer.ts";
import { paintState } from "../output/style.ts";
import type { OpenSession, Session } from "../session.ts";

type Seen = Row<Finding> & JsonObject;
type DoctorOptions = { readonly deep?: boolean; readonly all?: boolean };

const RANK: Readonly<Record<string, number>> = { failed: 0, warning: 1, ok: 2 };

export function addDoctorCommand(program: Command, open: OpenSession): void {
  program
    .command("doctor")
    .description("what is wrong with the server and the way to it, and what to do")
    .option("--deep", "also compare sinks' ledgers with what was delivered")
    .option("--all", "show what is well, too")
    .addHelpText(
      "after",
      "\nExit codes: 0 all is well, or warnings only; 1 something failed; 3 the server cannot be reached.\n\nExample:\n  onedata doctor --deep",
    )
    .action(async (options: DoctorOptions, command: Command) => {
      const session = open(command);
      const findings: Seen[] = [];
      const isReached = await look(session, options, findings);
      findings.sort((a, b) => (RANK[cell(a.state)] ?? 0) - (RANK[cell(b.state)] ?? 0));
      await print(session.out, findings, options.all === true);
      if (!isReached) throw new Exit(exitCodes.unreachable);
      if (findings.some(({ state }) => state === "failed")) throw new Exit(exitCodes.problem);
    });
}

/** Adds to `findings`; answers whether the server could be asked. */
async function look({ terminal, signal }: Session, { deep = false }: DoctorOptions, findings: Seen[]): Promise<boolean> {
  const add = (check: string, state: string, detail: string, advice = ""): void => {
    findings.push({ check, state, detail, advice, count: state === "ok" ? 0 : 1, examples: [] });
  };
  let credentials: Credentials;
  try {
    credentials = readCredentials(terminal);
    add("client.credentials", "ok", `client ${credentials.clientId} for ${credentials.url}`);
  } catch (error) {
    add("client.credentials", "failed", explain(error).detail, "`npm start` makes the first client; `onedata login` keeps those of another server");
    return false;
  }
  for await (const { check, state, detail, advice } of checkServer(credentials.url, signal)) add(check, state, detail, advice);
  if (findings.some(({ state }) => state === "failed")) return !findings.some(({ check, state }) => state === "failed" && check !== "server.ready");
  const api = createApi(credentials, signal);
  try {
    const { scopes } = await api.token();
    add("client.token", "ok", `a token was given for ${scopes.length} scopes`);
  } catch (error) {
    add(
      "client.token",
      "failed",
      explain(error).detail,
      "the client was revoked, or its secret is another one: `onedata login`, or take the credentials from client.json",
    );
    return true;
  }
  try {
    const answer = await api.call("GET", "/v1/system:diagnose", { query: { deep: deep || undefined }, timeoutMs: 90_000 });
    const told = answer["findings"];
    if (Array.isArray(told)) findings.push(...told.filter(isJsonObject));
  } catch (error) {
    const { code, detail } = explain(error);
    if (error instanceof Refused && error.status === 403)
      add(
        "client.scope",
        "warning",
        "this client may not ask the installation: it lacks the scope admin",
        "ask an operator, or use a client with the scope admin",
      );
    else
      add(
        "server.diagnosis",
        "failed",
        `the installation does not answer: ${detail}${code === "" ? "" : ` [${code}]`}`,
        "look at the logs of gateway and control",
      );
  }
  return true;
}

async function print(out: Printer, findings: readonly Seen[], all: boolean): Promise<void> {
  if (out.isJson) {
    for (const finding of findings) await out.json(finding);
    return;
  }
  const shown = all ? findings : findings.filter(({ state }) => state !== "ok");
  const width = Math.max(0, ...shown.map(({ check }) => cell(check).length));
  for (const { check, state, detail, advice, examples } of shown) {
    const mark = paintState(cell(state), out.style) + " ".repeat(Math.max(0, 7 - cell(state).length));
    await out.line(`${mark}  ${out.style.bold(cell(check).padEnd(width))}  ${cell(detail)}`);
    const indent = " ".repeat(9 + width + 2);
    if (cell(advice) !== "") await out.line(`${indent}${out.style.cyan("→")} ${cell(advice)}`);
    if (Array.isArray(examples) && examples.length > 0) await out.line(`${indent}${out.style.dim(`e.g. ${cell(examples)}`)}`);
  }
  const well = findings.filter(({ state }) => state === "ok").length;
  const rest = findings.length - well;
  await out.line(
    rest === 0
      ? out.style.green(`${plural(well, "check")}, all is well`)
      : `${plural(rest, "finding")}${well === 0 ? "" : `, ${plural(well, "check")} ${well === 1 ? "is" : "are"} well${all ? "" : " (--all shows them)"}`}`,
  );
}
