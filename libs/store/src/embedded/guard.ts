/**
 * Stops the embedded server when everybody who needs it is gone, however they died. Without it a server would outlive `kill -9` with nobody left to stop it.
 *
 * A shell reads a pipe whose other end we hold, and whoever we share it with: it ends, and stops the server, when the last holder has gone.
 * Invariants: it has a session of its own, so neither Ctrl-C nor a closed terminal reaches it; who starts next waits for it, so it never stops a server that is
 * in use again.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Writable } from "node:stream";
import { OneDataError } from "@onedata/core";
import { describeProcess } from "./home-lock.ts";
import { asUser, chooseOsUser } from "./os-user.ts";
import { type EmbeddedPostgres, type EmbeddedPostgresOptions, locateDataDir, openEmbeddedPostgres, reachableBinaries } from "./server.ts";

export type GuardedPostgres = EmbeddedPostgres & {
  /** The server runs until this process, and every process that was started with it among its `stdio`, has ended. */
  readonly lifeline: Writable;
};

const LOOK_MS = 100;
/** What a killed OneData left drains for half a minute, then its server stops. */
const WAIT_MS = 120_000;

/** As `openEmbeddedPostgres`, after the guard of a process that was killed has ended. Only for the holder of the home's lock. */
export async function openGuardedPostgres(options: EmbeddedPostgresOptions & { readonly log: (message: string) => void }): Promise<GuardedPostgres> {
  await waitForGuard(locateDataDir(options.dataDir), options.log);
  const server = await openEmbeddedPostgres(options);
  const user = chooseOsUser();
  const guard = spawn(
    "/bin/sh",
    ["-c", 'read -r _; exec "$@"', "sh", join(reachableBinaries(user), "bin/pg_ctl"), "-D", join(server.dataDir, "pg"), "-m", "fast", "-w", "stop"],
    { ...asUser(user), stdio: ["pipe", "ignore", "ignore"], detached: true, env: {} },
  );
  const ended = new Promise<void>((resolve) => guard.once("error", () => resolve()).once("exit", () => resolve()));
  guard.stdin.on("error", () => undefined);
  guard.unref();
  const file = join(server.dataDir, "guard");
  writeFileSync(file, describeGuard(guard));
  const stop = async (): Promise<void> => {
    await server.stop();
    guard.ref();
    guard.stdin.destroy();
    await ended;
    rmSync(file, { force: true });
  };
  return { ...server, lifeline: guard.stdin, stop, [Symbol.asyncDispose]: stop };
}

/** Until nobody is left who will stop the server of `dataDir`. Only for the holder of the home's lock. Throws `config.problems` after two minutes. */
export async function waitForGuard(dataDir: string, log: (message: string) => void = () => undefined): Promise<void> {
  const deadlineMs = performance.now() + WAIT_MS;
  for (let told = false; ; told = true) {
    const guard = readGuard(dataDir);
    if (guard === undefined || describeProcess(Number(guard.split(" ")[0])) !== guard) return;
    if (performance.now() > deadlineMs)
      throw new OneDataError(
        "config.problems",
        `processes of an earlier OneData still use the database in ${dataDir}: end them (\`ps\` shows main.ts or main.js of gateway, engine, control, transform and load), and start again`,
      );
    if (!told) log("what an earlier OneData left behind in this folder is still ending; waiting for it");
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

const describeGuard = ({ pid }: ChildProcess): string => (pid === undefined ? "" : (describeProcess(pid) ?? ""));

function readGuard(dataDir: string): string | undefined {
  try {
    const text = readFileSync(join(dataDir, "guard"), "utf8");
    return text === "" ? undefined : text;
  } catch {
    return undefined;
  }
}
