/**
 * The cluster profile on one machine: gateway, control, engine, transform and load as processes of their own over gRPC.
 * Duty: start them in the order of who needs whom, wait until each is ready, a log file per process, stop all on one signal.
 * Non-duty: what production uses for this (Kubernetes). The processes are the same that run there.
 * Invariants: a process that ends by itself ends the cluster, with the end of its log; or, when `restart` is asked for, is started again at its address. When this
 * process is killed, the others drain and end, because their channel to it closes; the database stops after the last of them.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { createWriteStream, mkdirSync, readFileSync, type WriteStream } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import type { Writable } from "node:stream";
import { fileURLToPath, pathToFileURL } from "node:url";
import { LookupServiceDefinition, PipelineServiceDefinition } from "@onedata/contracts";
import { OneDataError } from "@onedata/core";
import { aborted, createClient, type Logger, openTransport, type TelemetrySettings } from "@onedata/mesh";
import { keepEmbeddedRunning, lockHome, migrate, openGuardedPostgres, openStore, sweep } from "@onedata/store";
import { createSecretBox } from "@onedata/store/control";
import { createPlatformDatabase } from "./databases.ts";
import { applyExamples } from "./examples.ts";
import { allScopes, connectWarehouse, openFirstClient } from "./first-client.ts";
import { Home } from "./home.ts";
import type { SoloReady } from "./solo.ts";

export type ClusterOptions = TelemetrySettings & {
  readonly home: string;
  readonly port: number;
  /** `embedded:` or `postgres://…` */
  readonly database: string;
  readonly engines: number;
  /** After which others take over what a dead engine held. */
  readonly leaseMs: number;
  /** The first one listens at `port`, the others at free ports: their logs say where. */
  readonly gateways: number;
  /** Of the engines: `none:`, or the address of a broker. */
  readonly broker: string;
  readonly examples: boolean;
  /** Private hosts, addresses or CIDR ranges that HTTP sinks and webhooks may reach, separated by commas. */
  readonly allowedAddresses: string;
  readonly allowedDatabaseAddresses: string;
  readonly logLevel: string;
  readonly minFreeDiskMib: number | undefined;
  readonly maxDatabaseMib: number | undefined;
  /** A process that was ready and ends by itself is started again, as an orchestrator does it. */
  readonly restart?: boolean;
  /** Told of each process that was started again. */
  readonly onRestart?: (process: StartedProcess) => void;
  /** What every process inherits, e.g. PATH. */
  readonly environment: Readonly<Record<string, string>>;
  readonly log: Logger;
  readonly onReady: (ready: SoloReady & { readonly processes: readonly StartedProcess[] }) => void;
};

export type StartedProcess = { readonly name: string; readonly pid: number; readonly logFile: string };

type Workload = {
  readonly name: string;
  readonly module: string;
  readonly env: Readonly<Record<string, string>>;
  /** Where it was ready before. */
  readonly readyAt?: string;
};

/** Runs until aborted; rejects when a process cannot start or ends by itself. */
export async function runCluster(options: ClusterOptions, signal: AbortSignal): Promise<void> {
  await using _lock = lockHome(options.home);
  const home = new Home(options.home);
  const warn = (message: string): void => options.log.warn(message);
  const server = { dataDir: join(options.home, "postgres"), log: warn };
  const embedded = options.database === "embedded:" ? await openGuardedPostgres(server) : undefined;
  const keeper = embedded === undefined ? undefined : keepEmbeddedRunning(embedded, server, warn);
  const group = new ProcessGroup({
    folder: join(options.home, "logs"),
    environment: options.environment,
    restarted: options.restart === true ? (options.onRestart ?? (() => undefined)) : undefined,
    lifeline: embedded?.lifeline,
  });
  try {
    const database = embedded === undefined ? options.database : await createPlatformDatabase(embedded.url);
    await migrate(database, { onApplied: (name) => options.log.info(`migrated: ${name}`), onWait: (message) => options.log.warn(message) });
    const secretKey = home.secretKey();
    const meshSecret = randomBytes(24).toString("base64url");
    const shared = {
      ONEDATA_DATABASE: database,
      ONEDATA_MESH_SECRET: meshSecret,
      ONEDATA_SECRET_KEY: secretKey,
      ONEDATA_LOG_LEVEL: options.logLevel,
      ...(options.otlp === undefined ? {} : { ONEDATA_OTLP: options.otlp }),
      ONEDATA_TRACE_RATIO: String(options.traceRatio),
    };
    const start = (name: string, module: string, env: Readonly<Record<string, string>>) => group.start({ name, module, env: { ...shared, ...env } });

    const [transform, load] = await Promise.all([
      start("transform", "../../transform/src/main.ts", {
        ONEDATA_LISTEN: "127.0.0.1:0",
        ONEDATA_ALLOWED_DATABASE_ADDRESSES: options.allowedDatabaseAddresses,
      }),
      start("load", "../../load/src/main.ts", {
        ONEDATA_LISTEN: "127.0.0.1:0",
        ONEDATA_EXPORTS: join(options.home, "exports"),
        ONEDATA_ALLOWED_ADDRESSES: options.allowedAddresses,
        ONEDATA_ALLOWED_DATABASE_ADDRESSES: options.allowedDatabaseAddresses,
      }),
    ]);
    const services = { ONEDATA_TRANSFORM: transform.address, ONEDATA_LOAD: load.address };
    const control = await start("control", "../../control/src/main.ts", {
      ...services,
      ONEDATA_LISTEN: "127.0.0.1:0",
      ONEDATA_ALLOWED_ADDRESSES: options.allowedAddresses,
      ONEDATA_ALLOWED_DATABASE_ADDRESSES: options.allowedDatabaseAddresses,
    });
    const names = Array.from({ length: options.engines }, (_, i) => (i === 0 ? "engine" : `engine-${i + 1}`));
    const startGateway = (name: string, port: number) =>
      start(name, "../../../gateway/src/main.ts", {
        ONEDATA_CONTROL: control.address,
        ONEDATA_PORT: String(port),
        ...diskEnvironment(options, embedded?.dataDir),
      });
    const engine = { ...services, ONEDATA_BROKER: options.broker, ONEDATA_LEASE_MS: String(options.leaseMs) };
    const [gateway] = await Promise.all([
      startGateway("gateway", options.port),
      ...Array.from({ length: options.gateways - 1 }, (_, i) => startGateway(`gateway-${i + 2}`, 0)),
      ...names.map((name) => start(name, "../../engine/src/main.ts", engine)),
    ]);

    await using store = openStore(database, { applicationName: "onedata-cluster", maxConnections: 2 });
    await sweep(store.sql);
    const { client, tenantId, isNew } = await openFirstClient(home, store, gateway.address);
    if (options.examples) {
      if (embedded !== undefined) await connectWarehouse(embedded.url, store.sql, { tenantId, isNew }, createSecretBox(secretKey));
      await using transport = await openTransport(control.address);
      const mesh = { caller: "gateway", meshSecret };
      await applyExamples({
        pipelines: createClient(PipelineServiceDefinition, transport, mesh),
        lookups: createClient(LookupServiceDefinition, transport, mesh),
        identity: { tenantId, principal: "cluster", scopes: allScopes() },
        log: options.log,
        signal,
      });
    }
    options.onReady({ url: gateway.address, client, home: options.home, isFirstStart: isNew, processes: group.list() });
    await Promise.race([aborted(signal), group.failed]);
  } finally {
    await group.stop();
    await keeper?.[Symbol.asyncDispose]();
    await embedded?.stop();
  }
}

const diskEnvironment = ({ minFreeDiskMib, maxDatabaseMib }: ClusterOptions, folder: string | undefined): Record<string, string> => ({
  ...(folder === undefined ? {} : { ONEDATA_DATABASE_FOLDER: folder }),
  ...(minFreeDiskMib === undefined ? {} : { ONEDATA_MIN_FREE_DISK_MIB: String(minFreeDiskMib) }),
  ...(maxDatabaseMib === undefined ? {} : { ONEDATA_MAX_DATABASE_MIB: String(maxDatabaseMib) }),
});

type Running = { readonly workload: Workload; readonly child: ChildProcess; readonly logFile: string; readonly exited: Promise<void> };

const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 35_000;
const RESTART_DELAY_MS = 100;
/** After a start that failed, e.g. because the database is recovering. */
const RETRY_DELAY_MS = 1_000;

type GroupOptions = {
  /** Of the log files. */
  readonly folder: string;
  readonly environment: Readonly<Record<string, string>>;
  /** With it a process that was ready is started again when it ends. */
  readonly restarted: ((process: StartedProcess) => void) | undefined;
  /** Of the database, which runs until every process has ended. */
  readonly lifeline: Writable | undefined;
};

class ProcessGroup {
  /** Rejects with the first process that ends by itself. */
  readonly failed: Promise<never>;
  readonly #options: GroupOptions;
  readonly #running = new Map<string, Running>();
  #fail: (error: Error) => void = () => undefined;
  #stopping = false;

  constructor(options: GroupOptions) {
    this.#options = options;
    mkdirSync(options.folder, { recursive: true });
    this.failed = new Promise((_, reject) => {
      this.#fail = reject;
    });
    this.failed.catch(() => undefined);
  }

  list(): StartedProcess[] {
    return [...this.#running.values()].map(({ workload: { name }, child, logFile }) => ({ name, pid: child.pid ?? 0, logFile }));
  }

  /** Resolves with the address that the process logs when it is ready. */
  async start(workload: Workload): Promise<{ address: string }> {
    const { name, module, env } = workload;
    const logFile = join(this.#options.folder, `${name}.log`);
    const output = createWriteStream(logFile, { flags: this.#running.has(name) ? "a" : "w" });
    // A session of its own: Ctrl-C reaches this process alone, which then stops the others in order.
    const child = spawn(process.execPath, [...nodeArguments(), entryOf(module)], {
      env: { ...this.#options.environment, ...env },
      // The channel closes when this process ends, however it does: `runUntilSignal` then stops the other one.
      stdio: ["ignore", "pipe", "pipe", "ipc", this.#options.lifeline ?? "ignore"],
      detached: true,
    });
    const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    this.#running.set(name, { workload, child, logFile, exited });
    child.stdout?.pipe(output, { end: false });
    const address = readAddress(child, output);
    let readyAt: string | undefined;
    const ended = new Promise<never>((_, reject) => {
      child.once("exit", (code, killedBy) => {
        output.end();
        if (this.#stopping) return;
        const error = new OneDataError(
          "config.problems",
          `${name} ended with ${killedBy ?? `code ${code}`}; the end of ${logFile}:\n${tailOf(logFile)}`,
        );
        const lastReadyAt = readyAt ?? workload.readyAt;
        if (this.#options.restarted === undefined || lastReadyAt === undefined) this.#fail(error);
        else this.#startAgain({ ...workload, readyAt: lastReadyAt }, readyAt === undefined ? RETRY_DELAY_MS : RESTART_DELAY_MS);
        reject(error);
      });
    });
    ended.catch(() => undefined);
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new OneDataError("config.problems", `${name} was not ready after ${START_TIMEOUT_MS / 1000} s; see ${logFile}`)),
        START_TIMEOUT_MS,
      );
    });
    try {
      readyAt = await Promise.race([address, timeout, ended, this.failed]);
      return { address: readyAt };
    } finally {
      clearTimeout(timer);
    }
  }

  /** At the address where the others know it; again and again when it does not become ready. */
  #startAgain(workload: Workload, delayMs: number): void {
    setTimeout(() => {
      if (this.#stopping) return;
      this.start({ ...workload, env: { ...workload.env, ...addressOf(workload) } }).then(
        () => {
          const started = this.list().find(({ name }) => name === workload.name);
          if (started !== undefined) this.#options.restarted?.(started);
        },
        // It ended, and its end starts it again; or it hangs, and is ended.
        () => this.#running.get(workload.name)?.child.kill("SIGKILL"),
      );
    }, delayMs);
  }

  /** Front door first: what it still accepts is worked off by the others. A process that does not end in time is killed. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const { child, exited } of [...this.#running.values()].reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
      await exited;
      clearTimeout(timer);
    }
  }
}

/** The settings that make a process listen where it did before; an engine listens nowhere. */
function addressOf({ env, readyAt = "" }: Workload): Readonly<Record<string, string>> {
  if ("ONEDATA_LISTEN" in env) return { ONEDATA_LISTEN: readyAt.replace(/^dns:\/\/\//, "") };
  return "ONEDATA_PORT" in env ? { ONEDATA_PORT: new URL(readyAt).port } : {};
}

/** Log lines are JSON; the one that says `ready` carries the address. */
function readAddress(child: ChildProcess, output: WriteStream): Promise<string> {
  return new Promise((resolve) => {
    let pending = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      output.write(text);
      pending += text;
      const lines = pending.split("\n");
      pending = lines.pop() ?? "";
      for (const line of lines) {
        const ready = readReady(line);
        if (ready !== undefined) resolve(ready);
      }
    });
  });
}

function readReady(line: string): string | undefined {
  try {
    const entry: unknown = JSON.parse(line);
    if (typeof entry !== "object" || entry === null || !("message" in entry) || entry.message !== "ready") return undefined;
    if ("url" in entry && typeof entry.url === "string") return entry.url;
    return "address" in entry && typeof entry.address === "string" ? entry.address : "";
  } catch {
    return undefined;
  }
}

const isSource = import.meta.url.endsWith(".ts");
const nodeArguments = (): string[] =>
  isSource ? ["--conditions=source", "--import", pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href] : [];
const entryOf = (module: string): string =>
  fileURLToPath(new URL(isSource ? module : module.replace("/src/", "/dist/").replace(/\.ts$/, ".js"), import.meta.url));
const tailOf = (file: string): string => readFileSync(file, "utf8").split("\n").slice(-12).join("\n");
