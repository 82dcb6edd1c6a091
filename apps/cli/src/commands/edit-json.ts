/** A payload in the user's editor, indented for people; what comes back is checked here, so a slip costs no round trip. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseJson } from "@onedata/formats";
import { exitCodes, Failure } from "../failure.ts";
import type { Session } from "../session.ts";

/** The text as it was left, or undefined when nothing was changed. */
export function editJson({ terminal, out }: Session, name: string, json: string): string | undefined {
  const editor = terminal.env["VISUAL"] ?? terminal.env["EDITOR"];
  if (editor === undefined || editor === "")
    throw new Failure("no $EDITOR is set; give the payload with --payload <file>, or - for stdin", exitCodes.usage);
  const folder = mkdtempSync(join(tmpdir(), "onedata-edit-"));
  const path = join(folder, `${name}.json`);
  const before = `${indentJson(json)}\n`;
  try {
    writeFileSync(path, before, { mode: 0o600 });
    for (;;) {
      const { status, error } = spawnSync(`${editor} "$ONEDATA_FILE"`, {
        shell: true,
        stdio: "inherit",
        env: { ...terminal.env, ONEDATA_FILE: path },
      });
      if (error !== undefined || status !== 0) throw new Failure(`${editor} ended with ${error?.message ?? `code ${status}`}; nothing was done`);
      const text = readFileSync(path, "utf8");
      if (text === before) return undefined;
      const problem = problemOf(text);
      if (problem === undefined) return text;
      if (terminal.stdin.isTTY !== true) throw new Failure(`what was edited is no JSON: ${problem}`);
      out.note(`what was edited is no JSON: ${problem}; once more`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export function problemOf(text: string): string | undefined {
  try {
    parseJson(text);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Every literal stays as it was written; only white space between them changes. */
export function indentJson(json: string): string {
  let depth = 0;
  let result = "";
  const line = (): string => `\n${"  ".repeat(depth)}`;
  for (const [token] of json.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s"{}[\],:]+/g)) {
    if (token === "{" || token === "[") {
      depth += 1;
      result += token + line();
    } else if (token === "}" || token === "]") {
      depth -= 1;
      result = /[{[]\s*$/.test(result) ? result.trimEnd() + token : result + line() + token;
    } else if (token === ",") result += token + line();
    else if (token === ":") result += ": ";
    else result += token;
  }
  return result;
}
