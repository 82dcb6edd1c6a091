/** The engine process: database, clients of the services it calls, and the engine until the signal. */
import { LoadServiceDefinition, TransformServiceDefinition } from "@onedata/contracts";
import { type ConfigOf, createClient, type Logger, openHealthServer, openTransport, setting } from "@onedata/mesh";
import { listenForWakes, openStore, readInstallationId } from "@onedata/store";
import { createSecretBox } from "@onedata/store/control";
import { createConnectionReader } from "./connection-reader.ts";
import { createEngine } from "./engine.ts";

export const engineSchema = {
  database: setting.secret({ doc: "postgres://… of the platform's database" }),
  transform: setting.text({ doc: "address of the transform service, e.g. dns:///transform:7443" }),
  load: setting.text({ doc: "address of the load service" }),
  meshSecret: setting.secret({ doc: "shared by all workloads of an installation", minLength: 16 }),
  secretKey: setting.secret({ doc: "32 bytes as base64 or hex; opens connections' secrets" }),
  slots: setting.integer({ doc: "most runs in flight", default: 4, min: 1, max: 64 }),
  health: setting.text({ doc: "host:port of /healthz and /readyz", default: "127.0.0.1:0" }),
};

export async function runEngine(config: ConfigOf<typeof engineSchema>, log: Logger, signal: AbortSignal): Promise<void> {
  await using store = openStore(config.database, { applicationName: "onedata-engine" });
  await using transformTransport = await openTransport(config.transform);
  await using loadTransport = await openTransport(config.load);
  const mesh = { caller: "engine", meshSecret: config.meshSecret };
  const transform = createClient(TransformServiceDefinition, transformTransport, mesh);
  const load = createClient(LoadServiceDefinition, loadTransport, mesh);
  const engine = createEngine(
    {
      store,
      log,
      installation: await readInstallationId(store.sql),
      clients: { transform: (name) => (name === "transform" ? transform : undefined), load: (name) => (name === "load" ? load : undefined) },
      connection: createConnectionReader(store.sql, createSecretBox(config.secretKey), () => performance.now()),
      listen: (wake) => listenForWakes(config.database, wake),
    },
    { slots: config.slots },
  );
  await using health = await openHealthServer(config.health, async () => {
    await store.sql`select 1`;
    return { ready: true, problems: [] };
  });
  log.info("ready", { incarnation: engine.incarnation, healthPort: health.port });
  await engine.run(signal);
}
