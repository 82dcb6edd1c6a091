/** The program for tests: started as a shell would (`spawnCli`), or called in this process, which is ten times faster (`callCli`). */
import { type ChildProcess, spawn } from "node:child_process";
import { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { runCli } from "./cli.ts";

export type CliOptions = {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly input?: string | Uint8Array;
  /** Sees the process while it runs: to feed it, to end it. */
  readonly onStart?: (child: ChildProcess) => void;
};

export type CliResult = { readonly code: number; readonly stdout: string; readonly stderr: string };

/** As it is deployed: what `tsc -b` has built, from wherever this runs. */
const MAIN = fileURLToPath(new URL("../dist/main.js", import.meta.url));

export async function spawnCli(args: readonly string[], { env = {}, cwd, input, onStart }: CliOptions = {}): Promise<CliResult> {
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: { HOME: "/nonexistent", ...env },
    ...(cwd === undefined ? {} : { cwd }),
    stdio: ["pipe", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => (stdout += chunk));
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (stderr += chunk));
  // It may end before it has read everything.
  child.stdin.on("error", () => undefined);
  if (onStart === undefined) child.stdin.end(input ?? "");
  else onStart(child);
  const code = await new Promise<number>((resolve) => child.once("close", (exit) => resolve(exit ?? -1)));
  return { code, stdout, stderr };
}

/** `env` is all of the environment that it sees. */
export async function callCli(args: readonly string[], { env = {}, input = "" }: Pick<CliOptions, "env" | "input"> = {}): Promise<CliResult> {
  const texts = { stdout: "", stderr: "" };
  const into = (name: keyof typeof texts): Writable =>
    new Writable({
      write(chunk, _encoding, done) {
        texts[name] += String(chunk);
        done();
      },
    });
  const code = await runCli(args, {
    env: { HOME: "/nonexistent", ...env },
    stdin: Readable.from([Buffer.from(input)], { objectMode: false }),
    stdout: into("stdout"),
    stderr: into("stderr"),
    signal: new AbortController().signal,
  });
  return { code, ...texts };
}

/** NDJSON as plain values. */
export const readLines = (text: string): Record<string, unknown>[] =>
  text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
