/**
 * A whole OneData for tests, as a user starts it: a process (solo) or several (cluster), over sockets, on a database of its own.
 * Duty: start in a temporary folder, sign in, stop, kill. Non-duty: anything a user could not do, but for reading the databases to compare.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { connect, type Sql } from "@onedata/store";
import { type Api, type ClientFile, openApi } from "./api.ts";
import { openExternalDatabase } from "./external-database.ts";
import { furnish } from "./home-template.ts";

export type Profile = "solo" | "cluster";

export type WorldProcess = { readonly name: string; readonly pid: number };

export interface World extends AsyncDisposable {
  readonly url: string;
  readonly home: string;
  /** Signed in as the first client, with every scope. */
  readonly api: Api;
  /** Cluster only; a process that was started again has its new pid. */
  readonly processes: readonly WorldProcess[];
  /** Of the main process. */
  readonly pid: number;
  readonly postgresPid: number;
  /** The platform's own database, and the examples' warehouse (none on a server that `ONEDATA_TEST_POSTGRES` names); superuser. */
  readonly platform: Sql;
  readonly warehouse: Sql;
  /** `kill -9` of the main process. Postgres, and a cluster's processes, end a little later. */
  kill(): Promise<void>;
  /** SIGTERM: drains and stops, Postgres too; the folder stays until the world is disposed of. */
  stop(): Promise<void>;
  /** SIGHUP, and nobody reads its output any more, as when its terminal is closed. Resolves with the exit code. */
  hangUp(): Promise<number | null>;
  /** What the main process wrote. */
  output(): string;
}

export type WorldOptions = {
  /** An earlier world's folder: starts on its data. Disposing then leaves it. */
  readonly home?: string;
  /** An empty home, as a newcomer's; by default one that was started and stopped once before, which takes half the time. */
  readonly isFirstStart?: boolean;
  readonly env?: Readonly<Record<string, string>>;
};

/** As it is deployed: what `tsc -b` has built. */
export const MAIN: Readonly<Record<Profile, string>> = {
  solo: fileURLToPath(new URL("../../../apps/solo/dist/main.js", import.meta.url)),
  cluster: fileURLToPath(new URL("../../../apps/solo/dist/cluster-main.js", import.meta.url)),
};
const READY_TIMEOUT_MS = 180_000;

export async function openWorld(profile: Profile, options: WorldOptions = {}): Promise<World> {
  const home = options.home ?? mkdtempSync(join(tmpdir(), "onedata-world-"));
  // Started by root, Postgres runs as another user, who must reach its data.
  chmodSync(home, 0o755);
  const external = await openExternalDatabase(home);
  if (options.isFirstStart !== true && external === undefined && !existsSync(join(home, "postgres"))) furnish(home);
  const child = spawn(process.execPath, [MAIN[profile]], {
    env: {
      ...process.env,
      ONEDATA_HOME: home,
      ONEDATA_PORT: "0",
      ...(external === undefined ? {} : { ONEDATA_DATABASE: external.url }),
      ...options.env,
    },
    // The channel ends it with whoever started it: a test that fails midway, too.
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  let output = "";
  child.stdout?.on("data", (chunk: Buffer) => (output += chunk.toString()));
  child.stderr?.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  await ready(child, profile, () => output);
  const client = readClient(home);
  const platform = connect(external?.url ?? databaseUrl(home, "onedata"), { max: 2, applicationName: "test" });
  const warehouse = connect(external?.url ?? databaseUrl(home, "warehouse"), { max: 2, applicationName: "test" });
  const close = async (): Promise<void> => {
    await Promise.all([platform.end({ timeout: 2 }), warehouse.end({ timeout: 2 })]);
  };
  return {
    url: client.url,
    home,
    api: await openApi(client),
    get processes() {
      const pids = new Map([...output.matchAll(/^ {2}(\S+) +pid (\d+)/gm)].map(([, name = "", pid]) => [name, Number(pid)]));
      return [...pids].map(([name, pid]) => ({ name, pid }));
    },
    pid: child.pid ?? 0,
    postgresPid: external === undefined ? Number(readFileSync(join(home, "postgres", "pg", "postmaster.pid"), "utf8").split("\n")[0]) : 0,
    platform,
    warehouse,
    output: () => output,
    async kill() {
      await close();
      child.kill("SIGKILL");
      await exited;
    },
    async stop() {
      await close();
      child.kill("SIGTERM");
      await exited;
    },
    async hangUp() {
      await close();
      child.stdout?.destroy();
      child.stderr?.destroy();
      child.kill("SIGHUP");
      await exited;
      return child.exitCode;
    },
    async [Symbol.asyncDispose]() {
      await close();
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
      await exited;
      if (options.home !== undefined) return;
      await external?.drop();
      removeHome(home);
    },
  };
}

/** Ends an orphaned Postgres of this folder, then removes the folder. */
export function removeHome(home: string): void {
  const pidFile = join(home, "postgres", "pg", "postmaster.pid");
  if (existsSync(pidFile)) {
    try {
      process.kill(Number(readFileSync(pidFile, "utf8").split("\n")[0]), "SIGQUIT");
    } catch {
      // It has ended by itself.
    }
  }
  rmSync(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
}

async function ready(child: ChildProcess, profile: Profile, output: () => string): Promise<void> {
  const mark = profile === "solo" ? "is ready at" : "Processes:";
  const deadline = performance.now() + READY_TIMEOUT_MS;
  while (!(output().includes(mark) && output().endsWith("\n"))) {
    if (child.exitCode !== null || performance.now() > deadline) {
      child.kill("SIGTERM");
      throw new Error(`the ${profile} world did not start:\n${output()}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export const readClient = (home: string): ClientFile => JSON.parse(readFileSync(join(home, "client.json"), "utf8"));

function databaseUrl(home: string, database: string): string {
  const folder = join(home, "postgres");
  const password = readFileSync(join(folder, "pg-password"), "utf8").trim();
  return `postgres://postgres:${password}@127.0.0.1:${readFileSync(join(folder, "port"), "utf8").trim()}/${database}`;
}
