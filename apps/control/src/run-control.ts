/** The control process: database, clients of the services it asks, its own services over gRPC until the signal. */
import { LoadServiceDefinition, TransformServiceDefinition } from "@onedata/contracts";
import { bySharedSecret, type ConfigOf, createClient, createServiceHost, type Logger, listen, openTransport, setting } from "@onedata/mesh";
import { migrate, openStore } from "@onedata/store";
import { createControl } from "./create-control.ts";

export const controlSchema = {
  database: setting.secret({ doc: "postgres://… of the platform's database; its owner, for migrations" }),
  listen: setting.text({ doc: "host:port for gRPC; port 0 takes any free one", default: "127.0.0.1:7441" }),
  transform: setting.text({ doc: "address of the transform service, e.g. dns:///transform:7443" }),
  load: setting.text({ doc: "address of the load service" }),
  meshSecret: setting.secret({ doc: "shared by all workloads of an installation", minLength: 16 }),
  secretKey: setting.secret({ doc: "32 bytes as base64 or hex; encrypts connections' secrets (openssl rand -base64 32)" }),
};

export async function runControl(config: ConfigOf<typeof controlSchema>, log: Logger, signal: AbortSignal): Promise<void> {
  const migrated = await migrate(config.database);
  if (migrated.length > 0) log.info("migrated", { migrations: migrated });
  await using store = openStore(config.database, { applicationName: "onedata-control" });
  await using transform = await openTransport(config.transform);
  await using load = await openTransport(config.load);
  const mesh = { caller: "control", meshSecret: config.meshSecret };
  const control = createControl({
    store,
    log,
    secretKey: config.secretKey,
    transform: [{ address: config.transform, client: createClient(TransformServiceDefinition, transform, mesh) }],
    load: { address: config.load, client: createClient(LoadServiceDefinition, load, mesh) },
  });
  const host = createServiceHost({
    authenticate: bySharedSecret(config.meshSecret),
    onInternalError: (error, at) => log.error("unexpected error", { ...at, error }),
  });
  control.addTo(host);
  await using listening = await listen(host, config.listen);
  log.info("ready", { address: listening.address });
  await control.run(signal);
}
