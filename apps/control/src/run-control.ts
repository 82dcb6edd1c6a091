/** The control process: database, clients of the services it asks, its own services over gRPC until the signal. */
import { LoadServiceDefinition, TransformServiceDefinition } from "@onedata/contracts";
import {
  bySharedSecret,
  type ConfigOf,
  createClient,
  createServiceHost,
  type Logger,
  listen,
  openHealthServer,
  openProcessTelemetry,
  openTransport,
  setting,
  telemetrySettings,
} from "@onedata/mesh";
import { readAddressList } from "@onedata/sinks";
import { migrate, openStore } from "@onedata/store";
import { createControl } from "./create-control.ts";
import { METRICS_TYPE } from "./reconcile/metrics.ts";

export const controlSchema = {
  database: setting.secret({ doc: "postgres://… of the platform's database; its owner, for migrations" }),
  listen: setting.text({ doc: "host:port for gRPC; port 0 takes any free one", default: "127.0.0.1:7441" }),
  transform: setting.text({ doc: "address of the transform service, e.g. dns:///transform:7443" }),
  load: setting.text({ doc: "address of the load service" }),
  meshSecret: setting.secret({ doc: "shared by all workloads of an installation", minLength: 16 }),
  secretKey: setting.secret({ doc: "32 bytes as base64 or hex; encrypts connections' secrets (openssl rand -base64 32)" }),
  allowedAddresses: setting.text({ doc: "private hosts, addresses or CIDR ranges that webhooks may reach, separated by commas", default: "" }),
  allowedDatabaseAddresses: setting.text({
    doc: "as the load service has it, for the deep diagnosis and the purge of ledgers: private hosts, addresses, CIDR ranges or `private`, separated by commas",
    default: "",
  }),
  health: setting.text({ doc: "host:port of /healthz, /readyz and /metrics", default: "127.0.0.1:0" }),
  retentionDays: setting.integer({
    doc: "days that events, runs and outputs are kept at most; tenants may keep less",
    default: 7,
    min: 1,
    max: 3650,
  }),
  databaseFolder: setting.text({
    doc: "where the database's data lies, when that is on this machine: its free space is shown to operators",
    default: "",
  }),
  deadLetterRetentionDays: setting.integer({ doc: "days that dead letters are kept at most", default: 30, min: 1, max: 3650 }),
  ...telemetrySettings,
};

export async function runControl(config: ConfigOf<typeof controlSchema>, log: Logger, signal: AbortSignal): Promise<void> {
  const migrated = await migrate(config.database, { onWait: (message) => log.warn(message) });
  if (migrated.length > 0) log.info("migrated", { migrations: migrated });
  await using store = openStore(config.database, { applicationName: "onedata-control" });
  await using telemetry = await openProcessTelemetry(config, log);
  const { tracer } = telemetry.tracing("control") ?? {};
  await using transform = await openTransport(config.transform);
  await using load = await openTransport(config.load);
  const mesh = { caller: "control", meshSecret: config.meshSecret, tracer };
  const control = createControl({
    store,
    log,
    secretKey: config.secretKey,
    allowedAddresses: readAddressList(config.allowedAddresses),
    allowedDatabaseAddresses: readAddressList(config.allowedDatabaseAddresses),
    databaseFolder: config.databaseFolder === "" ? undefined : config.databaseFolder,
    retention: { eventsDays: config.retentionDays, deadLettersDays: config.deadLetterRetentionDays },
    transform: [{ address: config.transform, client: createClient(TransformServiceDefinition, transform, mesh) }],
    load: { address: config.load, client: createClient(LoadServiceDefinition, load, mesh) },
  });
  const host = createServiceHost({
    authenticate: bySharedSecret(config.meshSecret),
    onInternalError: (error, at) => log.error("unexpected error", { ...at, error }),
    tracer,
  });
  control.addTo(host);
  await using listening = await listen(host, config.listen);
  await using health = await openHealthServer(
    config.health,
    async () => {
      await store.sql`select 1`;
      return { ready: true, problems: [] };
    },
    { contentType: METRICS_TYPE, text: () => control.metrics() },
  );
  log.info("ready", { address: listening.address, healthPort: health.port });
  await control.run(signal);
}
