/**
 * All of OneData in one process, over the embedded Postgres: the profile where every port is local.
 * Duty: open the ports in order, wire the machines, stop them in the reverse order. Non-duty: what any of them does.
 * Invariants: the transform service runs in a worker thread; calls between the machines still go as bytes through the contract's policies;
 * on stop the front door closes first and the database last.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import {
  CaptureServiceDefinition,
  LoadServiceDefinition,
  LookupServiceDefinition,
  PipelineServiceDefinition,
  TransformServiceDefinition,
} from "@onedata/contracts";
import { createControl } from "@onedata/control";
import { createConnectionReader, createEngine, openEngineBroker } from "@onedata/engine";
import { createFacade, createGateway, type DiskSettings, toDiskOptions } from "@onedata/gateway";
import { createExportRunner, createLoadService, readAddressList } from "@onedata/load";
import {
  aborted,
  bySharedSecret,
  createClient,
  createInprocDirectory,
  createServiceHost,
  type Logger,
  openProcessTelemetry,
  openTransport,
  type TelemetrySettings,
} from "@onedata/mesh";
import {
  keepEmbeddedRunning,
  listenForWakes,
  lockHome,
  migrate,
  openGuardedPostgres,
  openStore,
  openWaker,
  readInstallationId,
  sweep,
} from "@onedata/store";
import { createSecretBox } from "@onedata/store/control";
import { createPlatformDatabase } from "./databases.ts";
import { applyExamples } from "./examples.ts";
import { allScopes, connectWarehouse, openFirstClient } from "./first-client.ts";
import { type ClientFile, Home } from "./home.ts";

export type SoloOptions = Omit<DiskSettings, "databaseFolder"> &
  TelemetrySettings & {
    readonly home: string;
    /** 0 takes any free one. */
    readonly port: number;
    /** `embedded:` or `postgres://…` of an empty or an own database. */
    readonly database: string;
    /** `none:`, or the address of a broker. */
    readonly broker: string;
    readonly examples: boolean;
    /** Private hosts, addresses or CIDR ranges that HTTP sinks and webhooks may reach, separated by commas. */
    readonly allowedAddresses: string;
    readonly allowedDatabaseAddresses: string;
    /** The operator's maximum for tenants. */
    readonly retentionDays: number;
    readonly deadLetterRetentionDays: number;
    readonly log: Logger;
    /** Told when it is ready. */
    readonly onReady: (ready: SoloReady) => void;
  };

export type SoloReady = { readonly url: string; readonly client: ClientFile; readonly home: string; readonly isFirstStart: boolean };

const TRANSFORM_WORKER = new URL(
  import.meta.url.endsWith(".ts") ? "../../transform/src/worker.ts" : "../../transform/dist/worker.js",
  import.meta.url,
);

/** Runs until aborted; rejects when it cannot start. */
export async function runSolo(options: SoloOptions, signal: AbortSignal): Promise<void> {
  const { log } = options;
  await using stack = new Stack();
  stack.use(lockHome(options.home));
  const home = new Home(options.home);
  const warn = (message: string): void => log.warn(message);
  const telemetry = stack.use(await openProcessTelemetry(options, log));
  const tracerOf = (service: string) => telemetry.tracing(service)?.tracer;
  const server = { dataDir: join(options.home, "postgres"), log: warn };
  const embedded = options.database === "embedded:" ? stack.use(await openGuardedPostgres(server)) : undefined;
  if (embedded !== undefined) stack.use(keepEmbeddedRunning(embedded, server, warn));
  const databaseUrl = embedded === undefined ? options.database : await createPlatformDatabase(embedded.url);
  await migrate(databaseUrl, { onApplied: (name) => log.info(`migrated: ${name}`), onWait: (message) => log.warn(message) });
  const store = stack.use(openStore(databaseUrl, { applicationName: "onedata-solo" }));
  await sweep(store.sql);

  const meshSecret = randomBytes(24).toString("base64url");
  const secretKey = home.secretKey();
  const box = createSecretBox(secretKey);
  const directory = createInprocDirectory();
  const authenticate = bySharedSecret(meshSecret);
  const onInternalError = (error: unknown, at: { readonly path: string; readonly instance: string }): void =>
    log.error("unexpected error", { ...at, error });
  const allowedDatabaseAddresses = readAddressList(options.allowedDatabaseAddresses);
  const { otlp, traceRatio } = options;
  const workers = {
    transform: { module: TRANSFORM_WORKER, data: { databaseUrl, meshSecret, allowedDatabaseAddresses, telemetry: { otlp, traceRatio } } },
  };
  const open = async (address: string) => stack.use(await openTransport(address, { directory, workers }));
  const transform = await open("worker:transform");
  const [load, control, capture] = [await open("inproc:load"), await open("inproc:control"), await open("inproc:capture")];
  const mesh = (caller: string) => ({ caller, meshSecret, tracer: tracerOf(caller) });
  const hostOf = (service: string) => createServiceHost({ authenticate, onInternalError, tracer: tracerOf(service) });

  const loadService = stack.use(
    createLoadService({
      log,
      platformDatabaseUrl: databaseUrl,
      allowedAddresses: readAddressList(options.allowedAddresses),
      allowedDatabaseAddresses,
    }),
  );
  stack.use(directory.serve("load", hostOf("load").add(LoadServiceDefinition, loadService.implementation)));
  const controlMachine = createControl({
    store,
    secretKey,
    retention: { eventsDays: options.retentionDays, deadLettersDays: options.deadLetterRetentionDays },
    databaseFolder: embedded?.dataDir,
    allowedAddresses: readAddressList(options.allowedAddresses),
    allowedDatabaseAddresses,
    log,
    transform: [{ address: transform.address, client: createClient(TransformServiceDefinition, transform, mesh("control")) }],
    load: { address: load.address, client: createClient(LoadServiceDefinition, load, mesh("control")) },
  });
  const controlHost = hostOf("control");
  controlMachine.addTo(controlHost);
  stack.use(directory.serve("control", controlHost));

  const engineClients = {
    transform: createClient(TransformServiceDefinition, transform, mesh("engine")),
    load: createClient(LoadServiceDefinition, load, mesh("engine")),
  };
  const broker = await openEngineBroker(options.broker, databaseUrl);
  if (broker !== undefined) stack.use(broker);
  const engine = createEngine({
    store,
    installation: await readInstallationId(store.sql),
    log,
    clients: {
      transform: (name) => (name === "transform" ? engineClients.transform : undefined),
      load: (name) => (name === "load" ? engineClients.load : undefined),
    },
    connection: createConnectionReader(store.sql, box, () => performance.now()),
    listen: (wake) => listenForWakes(databaseUrl, wake),
    broker,
    tracer: tracerOf("engine"),
  });
  const waker = stack.use(openWaker(databaseUrl));
  const gateway = createGateway({
    store,
    auth: { kind: "own" },
    log,
    listen: { host: "127.0.0.1", port: options.port },
    wake: () => waker.wake(),
    disk: toDiskOptions({ ...options, databaseFolder: embedded?.dataDir }),
    facade: createFacade({
      transportOf: (service) => (service === CaptureServiceDefinition.fullName ? capture : control),
      client: mesh("gateway"),
      log,
    }),
    tracing: telemetry.tracing("gateway"),
  });
  stack.use(directory.serve("capture", hostOf("gateway").add(CaptureServiceDefinition, gateway.captureService)));

  const exporter = createExportRunner({ store, folder: join(options.home, "exports"), log, clock: { now: () => Date.now() } });
  const stops = { gateway: new AbortController(), rest: new AbortController(), exporter: new AbortController() };
  const machines = [controlMachine.run(stops.rest.signal), engine.run(stops.rest.signal)];
  const exporting = exporter.run(stops.exporter.signal);
  const serving = gateway.run(stops.gateway.signal);
  const stopAll = async (): Promise<void> => {
    stops.gateway.abort();
    await Promise.allSettled([serving]);
    stops.rest.abort();
    await Promise.allSettled(machines);
    // Last, so that its files hold what the engine has finished.
    stops.exporter.abort();
    await Promise.allSettled([exporting]);
  };
  try {
    const address = await Promise.race([gateway.address, serving.then(() => Promise.reject(new Error("the gateway stopped before it listened")))]);
    const { client, tenantId, isNew } = await openFirstClient(home, store, address.url);
    if (options.examples) {
      if (embedded !== undefined) await connectWarehouse(embedded.url, store.sql, { tenantId, isNew }, box);
      const identity = { tenantId, principal: "solo", scopes: allScopes() };
      await applyExamples({
        pipelines: createClient(PipelineServiceDefinition, control, mesh("gateway")),
        lookups: createClient(LookupServiceDefinition, control, mesh("gateway")),
        identity,
        log,
        signal,
      });
    }
    options.onReady({ url: address.url, client, home: options.home, isFirstStart: isNew });
    await Promise.race([aborted(signal), serving, ...machines]);
  } finally {
    await stopAll();
  }
}

/** What was opened, closed in the reverse order. `AsyncDisposableStack` for Node 20. */
class Stack implements AsyncDisposable {
  readonly #opened: AsyncDisposable[] = [];

  use<T extends AsyncDisposable>(resource: T): T {
    this.#opened.push(resource);
    return resource;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const resource of this.#opened.reverse()) await resource[Symbol.asyncDispose]();
  }
}
