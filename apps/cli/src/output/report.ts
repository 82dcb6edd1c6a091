/** Problems on stderr: for people what is wrong, where, and what to do; for programs the problem as it came. */
import { explain, toProblemJson } from "../failure.ts";
import type { Terminal } from "../terminal.ts";
import { styleFor } from "./printer.ts";

export type Report = (error: unknown) => void;

export function createReport(terminal: Terminal, { isJson, color }: { readonly isJson: boolean; readonly color: boolean }): Report {
  const { stderr } = terminal;
  const style = styleFor(terminal, stderr, color);
  return (error) => {
    if (isJson) {
      stderr.write(`${JSON.stringify(toProblemJson(error))}\n`);
      return;
    }
    const { code, detail, violations, instance } = explain(error);
    stderr.write(`${style.red("error")} ${detail}${code === "" ? "" : style.dim(` [${code}]`)}\n`);
    // A single violation is what the detail says already.
    for (const { pointer, detail: what } of violations.length > 1 ? violations : [])
      stderr.write(`  ${style.cyan(pointer === "" ? "/" : pointer)}  ${what}\n`);
    if (instance !== "") stderr.write(style.dim(`  the server's log names the cause under ${instance}\n`));
  };
}
