/** The engine process: database, clients of the services it calls, and the engine until the signal. */
import { LoadServiceDefinition, TransformServiceDefinition } from "@onedata/contracts";
import {
  type ConfigOf,
  createClient,
  type Logger,
  openHealthServer,
  openProcessTelemetry,
  openTransport,
  setting,
  telemetrySettings,
} from "@onedata/mesh";
import { listenForWakes, openStore, readInstallationId } from "@onedata/store";
import { createSecretBox } from "@onedata/store/control";
import { createConnectionReader } from "./connection-reader.ts";
import { createEngine } from "./engine.ts";
import { openEngineBroker } from "./relay/open-engine-broker.ts";

export const engineSchema = {
  database: setting.secret({ doc: "postgres://… of the platform's database" }),
  transform: setting.text({ doc: "address of the transform service, e.g. dns:///transform:7443" }),
  load: setting.text({ doc: "address of the load service" }),
  meshSecret: setting.secret({ doc: "shared by all workloads of an installation", minLength: 16 }),
  secretKey: setting.secret({ doc: "32 bytes as base64 or hex; opens connections' secrets" }),
  slots: setting.integer({ doc: "most runs in flight", default: 4, min: 1, max: 64 }),
  leaseMs: setting.integer({ doc: "milliseconds after which others take over what a dead engine held", default: 15_000, min: 1_000, max: 600_000 }),
  callsPerService: setting.integer({ doc: "most calls in flight per service", default: 8, min: 1, max: 1_000 }),
  broker: setting.secret({ doc: "none:, kubemq://host:50000 or nats://host:4222; wakes claims, without one engines poll", default: "none:" }),
  health: setting.text({ doc: "host:port of /healthz and /readyz", default: "127.0.0.1:0" }),
  ...telemetrySettings,
};

export async function runEngine(config: ConfigOf<typeof engineSchema>, log: Logger, signal: AbortSignal): Promise<void> {
  await using telemetry = await openProcessTelemetry(config, log);
  const { tracer } = telemetry.tracing("engine") ?? {};
  await using store = openStore(config.database, { applicationName: "onedata-engine" });
  await using transformTransport = await openTransport(config.transform);
  await using loadTransport = await openTransport(config.load);
  const mesh = { caller: "engine", meshSecret: config.meshSecret, tracer };
  const transform = createClient(TransformServiceDefinition, transformTransport, mesh);
  const load = createClient(LoadServiceDefinition, loadTransport, mesh);
  await using broker = await openEngineBroker(config.broker, config.database);
  const engine = createEngine(
    {
      store,
      log,
      installation: await readInstallationId(store.sql),
      clients: { transform: (name) => (name === "transform" ? transform : undefined), load: (name) => (name === "load" ? load : undefined) },
      connection: createConnectionReader(store.sql, createSecretBox(config.secretKey), () => performance.now()),
      listen: (wake) => listenForWakes(config.database, wake),
      broker,
      tracer,
    },
    { slots: config.slots, leaseMs: config.leaseMs, callsPerService: config.callsPerService },
  );
  await using health = await openHealthServer(config.health, async () => {
    await store.sql`select 1`;
    // A broker that is down slows nothing that matters: the engine stays ready.
    return { ready: true, problems: [], details: { broker: engine.brokerState } };
  });
  log.info("ready", { incarnation: engine.incarnation, healthPort: health.port });
  await engine.run(signal);
}
