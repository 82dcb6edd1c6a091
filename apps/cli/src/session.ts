/** What every command gets: where to print, whom to call, when to stop. The server is looked up only when a command asks for it. */
import type { Command } from "commander";
import { type Api, createApi } from "./api/api.ts";
import { readCredentials } from "./api/credentials.ts";
import { createPrinter, type Printer } from "./output/printer.ts";
import { createReport, type Report } from "./output/report.ts";
import type { Terminal } from "./terminal.ts";

export interface Session {
  readonly terminal: Terminal;
  readonly out: Printer;
  readonly signal: AbortSignal;
  /** For commands that go on after a problem; others throw it. */
  readonly report: Report;
  readonly api: () => Api;
}

/** From the options of the command that runs, the program's own (`--json`, `--no-color`) included. */
export type OpenSession = (command: Command) => Session;

export function createOpenSession(terminal: Terminal): OpenSession {
  return (command) => {
    const { json, color } = command.optsWithGlobals<{ json?: boolean; color?: boolean }>();
    const shown = { isJson: json === true, color: color !== false };
    return {
      terminal,
      report: createReport(terminal, shown),
      signal: terminal.signal,
      out: createPrinter(terminal, shown),
      api: () => createApi(readCredentials(terminal), terminal.signal),
    };
  };
}
