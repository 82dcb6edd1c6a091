/** A helper process of the bench, from source, that speaks JSON lines. */
import { type ChildProcess, spawn } from "node:child_process";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { fileURLToPath, pathToFileURL } from "node:url";

export interface Child extends AsyncDisposable {
  readonly pid: number;
  /** The next line, parsed; rejects when the process ends before it. */
  line(): Promise<unknown>;
}

export function startChild(module: URL, args: readonly string[]): Child {
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
  const child: ChildProcess = spawn(process.execPath, ["--conditions=source", "--import", tsx, fileURLToPath(module), ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  if (child.stdout === null || child.pid === undefined) throw new Error(`${module.pathname} did not start`);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    pid: child.pid,
    async line() {
      const { value, done } = await lines.next();
      if (done === true) throw new Error(`${module.pathname} ended before it answered`);
      return JSON.parse(value);
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await exited;
    },
  };
}
