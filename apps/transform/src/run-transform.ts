/** The transform process: opens the database for uploaded lists, serves over gRPC, drains. Connections to tenants' databases come with every call, over the authenticated transport only. */
import { TransformServiceDefinition } from "@onedata/contracts";
import { toTenantId } from "@onedata/core";
import {
  bySharedSecret,
  type ConfigOf,
  createServiceHost,
  type Logger,
  listen,
  openProcessTelemetry,
  setting,
  telemetrySettings,
} from "@onedata/mesh";
import { createPostgresLookups, identityOfUrl, readAddressList } from "@onedata/sinks/lookup";
import { openStore } from "@onedata/store";
import { createLookups } from "@onedata/store/control";
import { createTransformService } from "./transform-service.ts";

export const transformSchema = {
  database: setting.secret({ doc: "postgres://… of the platform's database, for lookups" }),
  listen: setting.text({ doc: "host:port for gRPC; port 0 takes any free one", default: "127.0.0.1:7443" }),
  meshSecret: setting.secret({ doc: "shared by all workloads of an installation", minLength: 16 }),
  allowPlatformDatabase: setting.flag({ doc: "lets connections reach the platform's own database", default: false }),
  allowedDatabaseAddresses: setting.text({
    doc: "as the load service has it, for lookups: hosts, addresses or CIDR ranges beside the public internet that connections to databases may reach, separated by commas; `private` = all private and loopback ones",
    default: "",
  }),
  ...telemetrySettings,
};

export async function runTransform(config: ConfigOf<typeof transformSchema>, log: Logger, signal: AbortSignal): Promise<void> {
  await using store = openStore(config.database, { maxConnections: 2, applicationName: "onedata-transform" });
  await using telemetry = await openProcessTelemetry(config, log);
  const lookups = createLookups(store.sql);
  await using databases = createPostgresLookups({
    platformDatabase: identityOfUrl(config.database),
    allowPlatformDatabase: config.allowPlatformDatabase,
    allowedAddresses: readAddressList(config.allowedDatabaseAddresses),
  });
  const service = createTransformService({
    databases,
    lookups: (tenant) => lookups.forTenant(toTenantId(BigInt(tenant))),
    onRecordError: (error) => log.error("an operation failed unexpectedly on a record", { error }),
  });
  const host = createServiceHost({
    authenticate: bySharedSecret(config.meshSecret),
    onInternalError: (error, at) => log.error("unexpected error", { ...at, error }),
    tracer: telemetry.tracing("transform")?.tracer,
  }).add(TransformServiceDefinition, service);
  await using listening = await listen(host, config.listen);
  log.info("ready", { address: listening.address });
  if (!signal.aborted) await new Promise((stop) => signal.addEventListener("abort", stop, { once: true }));
}
