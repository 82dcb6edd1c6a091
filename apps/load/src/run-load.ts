/** The load process: serves over gRPC, drains. It keeps no state: connections come with every call, over the authenticated transport only. */
import { LoadServiceDefinition } from "@onedata/contracts";
import { bySharedSecret, type ConfigOf, createServiceHost, type Logger, listen, setting } from "@onedata/mesh";
import { createLoadService } from "./load-service.ts";

export const loadSchema = {
  database: setting.secret({ doc: "postgres://… of the platform's database: only to refuse it as a sink", default: "" }),
  listen: setting.text({ doc: "host:port for gRPC; port 0 takes any free one", default: "127.0.0.1:7444" }),
  meshSecret: setting.secret({ doc: "shared by all workloads of an installation", minLength: 16 }),
  allowPlatformDatabase: setting.flag({ doc: "lets connections reach the platform's own database", default: false }),
  allowedAddresses: setting.text({ doc: "private hosts, addresses or CIDR ranges that HTTP sinks may reach, separated by commas", default: "" }),
};

export async function runLoad(config: ConfigOf<typeof loadSchema>, log: Logger, signal: AbortSignal): Promise<void> {
  if (config.database === "" && !config.allowPlatformDatabase)
    log.warn("no `database` is given: connections are not kept from the platform's own database");
  await using load = createLoadService({
    log,
    allowPlatformDatabase: config.allowPlatformDatabase,
    allowedAddresses: config.allowedAddresses
      .split(",")
      .map((entry) => entry.trim())
      .filter((entry) => entry !== ""),
    ...(config.database === "" ? {} : { platformDatabaseUrl: config.database }),
  });
  const host = createServiceHost({
    authenticate: bySharedSecret(config.meshSecret),
    onInternalError: (error, at) => log.error("unexpected error", { ...at, error }),
  }).add(LoadServiceDefinition, load.implementation);
  await using listening = await listen(host, config.listen);
  log.info("ready", { address: listening.address });
  if (!signal.aborted) await new Promise((stop) => signal.addEventListener("abort", stop, { once: true }));
}
