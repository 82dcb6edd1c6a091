/**
 * A broker's server program as a child process of a test or a bench: started until it answers, killed, frozen, wiped. Non-duty: which program, with what settings.
 * Its output is kept for the error that a start may end in.
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";

export type ServerProgram = {
  readonly path: string;
  readonly args: readonly string[];
  readonly url: string;
  /** The server's own: removed with it. Its store is the folder `store` in there. */
  readonly folder: string;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Before each start. */
  readonly prepare?: () => Promise<void>;
  readonly answers: () => Promise<boolean>;
};

export interface ServerProcess extends AsyncDisposable {
  readonly url: string;
  /** 0 while it does not run. */
  readonly pid: number;
  /** kill -9. */
  readonly kill: () => Promise<void>;
  /** After `kill`; on the same port, with its store. */
  readonly start: () => Promise<void>;
  /** kill -9 and start. */
  readonly restart: () => Promise<void>;
  /** kill -9, the store is deleted, start. */
  readonly wipe: () => Promise<void>;
  readonly freeze: () => void;
  readonly thaw: () => void;
  /** A line for its standard input, which ends with this process. */
  readonly tell: (line: string) => void;
}

const STOP_WITHIN_MS = 2_000;
const START_WITHIN_MS = 30_000;
const OUTPUT_KEPT = 4_000;

/** Throws when it does not start, with the end of its output; its folder is removed then, too. */
export async function openServerProcess({ path, args, url, folder, cwd, env, prepare, answers }: ServerProgram): Promise<ServerProcess> {
  let child: ChildProcessWithoutNullStreams | undefined;
  let output = "";
  const keep = (text: string): void => {
    output = (output + text).slice(-OUTPUT_KEPT);
  };

  async function start(): Promise<void> {
    await prepare?.();
    const own = spawn(path, args, {
      stdio: "pipe",
      ...(cwd === undefined ? {} : { cwd }),
      ...(env === undefined ? {} : { env: { ...process.env, ...env } }),
    });
    child = own;
    own.on("error", ({ message }) => keep(message));
    // Told something while it dies.
    own.stdin.on("error", () => undefined);
    for (const stream of [own.stdout, own.stderr]) stream.setEncoding("utf8").on("data", keep);
    const endMs = performance.now() + START_WITHIN_MS;
    while (!(await answers())) {
      if (!isRunning(own) || performance.now() > endMs) throw new Error(`${path} did not start:\n${output}`);
      await new Promise((done) => setTimeout(done, 20));
    }
  }
  async function kill(): Promise<void> {
    const own = child;
    child = undefined;
    if (own === undefined || !isRunning(own)) return;
    const exited = once(own, "exit");
    own.kill("SIGKILL");
    await exited;
  }
  async function dispose(): Promise<void> {
    await kill();
    await rm(folder, { recursive: true, force: true });
  }

  await start().catch(async (error: unknown) => {
    await dispose();
    throw error;
  });
  return {
    url,
    get pid() {
      return child?.pid ?? 0;
    },
    kill,
    start,
    async restart() {
      await kill();
      await start();
    },
    async wipe() {
      await kill();
      await rm(join(folder, "store"), { recursive: true, force: true });
      await start();
    },
    freeze() {
      child?.kill("SIGSTOP");
      untilStopped(child?.pid);
    },
    thaw: () => void child?.kill("SIGCONT"),
    tell: (line) => void child?.stdin.write(`${line}\n`),
    [Symbol.asyncDispose]: dispose,
  };
}

const isRunning = ({ pid, exitCode, signalCode }: ChildProcessWithoutNullStreams): boolean =>
  pid !== undefined && exitCode === null && signalCode === null;

/** A signal reaches the threads of a busy process one by one; the last may still answer. Where there is no /proc, they may. */
function untilStopped(pid: number | undefined): void {
  for (const endMs = performance.now() + STOP_WITHIN_MS; performance.now() < endMs; ) {
    try {
      const tasks = readdirSync(`/proc/${pid}/task`);
      if (tasks.every((task) => /^State:\s+[Tt]/m.test(readFileSync(`/proc/${pid}/task/${task}/status`, "utf8")))) return;
    } catch {
      return;
    }
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}
