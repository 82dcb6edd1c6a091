/**
 * Where answers go: stdout for results, stderr for remarks.
 * Invariants: `--json` writes one JSON value per line to stdout and nothing else there; a slow reader slows the command.
 */
import { once } from "node:events";
import type { Writable } from "node:stream";
import type { Json } from "@onedata/core";
import { stringifyJson } from "@onedata/formats";
import type { Terminal } from "../terminal.ts";
import { createStyle, type Style } from "./style.ts";
import { type Column, formatTable } from "./table.ts";

export interface Printer {
  readonly isJson: boolean;
  readonly style: Style;
  /** For stderr, which may be a terminal when stdout is none. */
  readonly noteStyle: Style;
  /** A line for people or a JSON text, to stdout. */
  line(text?: string): Promise<void>;
  json(value: Json): Promise<void>;
  /** The same rows as a table, or one JSON value per line. */
  table<T extends Json>(rows: readonly T[], columns: readonly Column<T>[], empty: string): Promise<void>;
  /** To stderr; programs do not see it. */
  note(text: string): void;
}

export function createPrinter(terminal: Terminal, options: { readonly isJson: boolean; readonly color: boolean }): Printer {
  const { stdout, stderr } = terminal;
  const style = styleFor(terminal, stdout, options.color);
  const line = (text = ""): Promise<void> => write(stdout, `${text}\n`);
  const json = (value: Json): Promise<void> => line(stringifyJson(value));
  return {
    isJson: options.isJson,
    style,
    noteStyle: styleFor(terminal, stderr, options.color),
    line,
    json,
    async table(rows, columns, empty) {
      if (options.isJson) for (const row of rows) await json(row);
      else if (rows.length === 0) stderr.write(`${empty}\n`);
      else await line(formatTable(rows, columns, { width: stdout.isTTY === true ? stdout.columns : undefined, head: style.dim }));
    },
    note(text) {
      if (!options.isJson) stderr.write(`${text}\n`);
    },
  };
}

export const styleFor = ({ env }: Terminal, stream: { readonly isTTY?: boolean }, color: boolean): Style =>
  createStyle(color && stream.isTTY === true && (env["NO_COLOR"] ?? "") === "");

export async function write(stream: Writable, text: string): Promise<void> {
  if (!stream.write(text) && !stream.destroyed) await once(stream, "drain");
}
