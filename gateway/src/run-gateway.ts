/** The gateway process: database, the way to the control plane, the front door until the signal. */
import { CaptureServiceDefinition } from "@onedata/contracts";
import { OneDataError } from "@onedata/core";
import {
  bySharedSecret,
  type ConfigOf,
  createInprocDirectory,
  createServiceHost,
  type Logger,
  listen,
  openProcessTelemetry,
  openTransport,
  setting,
  type Transport,
  telemetrySettings,
} from "@onedata/mesh";
import { openStore, openWaker } from "@onedata/store";
import type { DiskOptions } from "./capture/disk-guard.ts";
import { createFacade } from "./facade.ts";
import { createGateway, type GatewayAuth } from "./server.ts";

/** Shared with the profiles that run the database themselves and know its folder. */
export const diskSettings = {
  minFreeDiskMib: setting.optional(
    setting.integer({ doc: "MiB of the database's disk to keep free for work in progress; default a tenth of it, at most 1024", min: 1 }),
  ),
  maxDatabaseMib: setting.optional(
    setting.integer({ doc: "MiB from which on the database takes no more captures; leave a tenth of its disk free", min: 1 }),
  ),
};

export const gatewaySchema = {
  database: setting.secret({ doc: "postgres://… of the platform's database" }),
  control: setting.text({ doc: "address of the control plane, e.g. dns:///control:7443" }),
  meshSecret: setting.secret({ doc: "shared by all workloads of an installation", minLength: 16 }),
  auth: setting.oneOf(["own:", "kong:"], { doc: "who issues tokens: own: this installation, kong: Kong in front of it", default: "own:" }),
  kongSecret: setting.optional(setting.secret({ doc: "with auth=kong: what Kong sends as x-onedata-gateway-secret", minLength: 16 })),
  host: setting.text({ doc: "address to listen on", default: "127.0.0.1" }),
  port: setting.port({ doc: "port of the REST API; 0 takes any free one", default: 8080 }),
  databaseFolder: setting.optional(
    setting.text({ doc: "where the database's data lies, when that is on this machine: captures are refused before its disk is full" }),
  ),
  ...diskSettings,
  listen: setting.text({ doc: "host:port of CaptureService over gRPC; port 0 takes any free one", default: "127.0.0.1:0" }),
  ...telemetrySettings,
};

const MIB = 1024 * 1024;

export type DiskSettings = Pick<ConfigOf<typeof gatewaySchema>, "databaseFolder" | "minFreeDiskMib" | "maxDatabaseMib">;

export async function runGateway(config: ConfigOf<typeof gatewaySchema>, log: Logger, signal: AbortSignal): Promise<void> {
  const auth = toAuth(config);
  await using telemetry = await openProcessTelemetry(config, log);
  const tracing = telemetry.tracing("gateway");
  await using store = openStore(config.database, { applicationName: "onedata-gateway" });
  await using control = await openTransport(config.control);
  await using waker = openWaker(config.database);
  const directory = createInprocDirectory();
  await using capture = await openTransport("inproc:capture", { directory });
  const gateway = createGateway({
    store,
    auth,
    log,
    wake: () => waker.wake(),
    facade: createFacade({
      transportOf: (service) => (service === CaptureServiceDefinition.fullName ? capture : control),
      client: { caller: "gateway", meshSecret: config.meshSecret, tracer: tracing?.tracer },
      log,
    }),
    listen: { host: config.host, port: config.port },
    disk: toDiskOptions(config),
    checks: { control: () => checkAnswers(control, config.meshSecret) },
    tracing,
  });
  const host = createServiceHost({
    authenticate: bySharedSecret(config.meshSecret),
    onInternalError: (error, at) => log.error("unexpected error", { ...at, error }),
    tracer: tracing?.tracer,
  });
  host.add(CaptureServiceDefinition, gateway.captureService);
  await using inProcess = await listen(host, "inproc:capture", { directory });
  await using rpc = await listen(host, config.listen);
  log.debug("capture is served", { to: [inProcess.address, rpc.address] });
  const running = gateway.run(signal);
  gateway.address.then(
    (address) => log.info("ready", { url: address.url, rpc: rpc.address }),
    () => undefined, // `running` rejects with the same
  );
  await running;
}

export const toDiskOptions = (config: DiskSettings): DiskOptions => ({
  folder: config.databaseFolder,
  minFreeBytes: config.minFreeDiskMib === undefined ? undefined : config.minFreeDiskMib * MIB,
  maxDatabaseBytes: config.maxDatabaseMib === undefined ? undefined : config.maxDatabaseMib * MIB,
});

function toAuth({ auth, kongSecret }: ConfigOf<typeof gatewaySchema>): GatewayAuth {
  if (auth === "own:") return { kind: "own" };
  if (kongSecret === undefined)
    throw new OneDataError(
      "config.problems",
      "auth=kong: needs ONEDATA_KONG_SECRET (--kong-secret): without it anybody who reaches this port could pretend to be Kong",
    );
  return { kind: "kong", sharedSecret: kongSecret };
}

const UNREACHED: readonly string[] = ["service.unavailable", "service.lost", "request.timeout"];

/** Any answer will do, also a refusal: this call names no tenant. */
async function checkAnswers(control: Transport, meshSecret: string): Promise<void> {
  try {
    await control.unary("/onedata.tenant.v1.TenantService/GetTenant", new Uint8Array(), {
      metadata: { "x-onedata-mesh-secret": meshSecret },
      signal: AbortSignal.timeout(2_000),
      timeoutMs: 2_000,
    });
  } catch (error) {
    if (UNREACHED.includes(OneDataError.from(error).code)) throw error;
  }
}
