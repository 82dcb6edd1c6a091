/** The transform process: opens the database for lookups, serves over gRPC, drains. */
import { TransformServiceDefinition } from "@onedata/contracts";
import { toTenantId } from "@onedata/core";
import { bySharedSecret, type ConfigOf, createServiceHost, type Logger, listen, setting } from "@onedata/mesh";
import { openStore } from "@onedata/store";
import { createLookups } from "@onedata/store/control";
import { createTransformService } from "./transform-service.ts";

export const transformSchema = {
  database: setting.secret({ doc: "postgres://… of the platform's database, for lookups" }),
  listen: setting.text({ doc: "host:port for gRPC; port 0 takes any free one", default: "127.0.0.1:7443" }),
  meshSecret: setting.secret({ doc: "shared by all workloads of an installation", minLength: 16 }),
};

export async function runTransform(config: ConfigOf<typeof transformSchema>, log: Logger, signal: AbortSignal): Promise<void> {
  await using store = openStore(config.database, { maxConnections: 2, applicationName: "onedata-transform" });
  const lookups = createLookups(store.sql);
  const service = createTransformService({
    lookups: (tenant) => lookups.forTenant(toTenantId(BigInt(tenant))),
    onRecordError: (error) => log.error("an operation failed unexpectedly on a record", { error }),
  });
  const host = createServiceHost({
    authenticate: bySharedSecret(config.meshSecret),
    onInternalError: (error, at) => log.error("unexpected error", { ...at, error }),
  }).add(TransformServiceDefinition, service);
  await using listening = await listen(host, config.listen);
  log.info("ready", { address: listening.address });
  if (!signal.aborted) await new Promise((stop) => signal.addEventListener("abort", stop, { once: true }));
}
