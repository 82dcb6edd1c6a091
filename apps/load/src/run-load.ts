/**
 * The load process: serves over gRPC, writes the files of file sinks where a folder for them is given, drains.
 * It keeps no state but those files: connections come with every call, over the authenticated transport only.
 */
import { LoadServiceDefinition } from "@onedata/contracts";
import { OneDataError } from "@onedata/core";
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
import { readAddressList } from "@onedata/sinks";
import { openStore } from "@onedata/store";
import { createExportRunner } from "./export/export-runner.ts";
import { createLoadService } from "./load-service.ts";

export const loadSchema = {
  database: setting.secret({
    doc: "postgres://… of the platform's database: to refuse it as a sink, and to read what file sinks write",
    default: "",
  }),
  listen: setting.text({ doc: "host:port for gRPC; port 0 takes any free one", default: "127.0.0.1:7444" }),
  exports: setting.text({
    doc: "folder of the files that file sinks write, a folder per tenant below it; all load processes of an installation share it. Empty: this process writes none",
    default: "",
  }),
  meshSecret: setting.secret({ doc: "shared by all workloads of an installation", minLength: 16 }),
  allowPlatformDatabase: setting.flag({ doc: "lets connections reach the platform's own database", default: false }),
  allowedDatabaseAddresses: setting.text({
    doc: "hosts, addresses or CIDR ranges beside the public internet that connections to databases may reach, separated by commas; `private` = all private and loopback ones",
    default: "",
  }),
  allowedAddresses: setting.text({ doc: "private hosts, addresses or CIDR ranges that HTTP sinks may reach, separated by commas", default: "" }),
  ...telemetrySettings,
};

export async function runLoad(config: ConfigOf<typeof loadSchema>, log: Logger, signal: AbortSignal): Promise<void> {
  if (config.exports !== "" && config.database === "")
    throw new OneDataError("config.problems", "`exports` is given without `database`: there is nothing to read the files' contents from");
  if (config.database === "" && !config.allowPlatformDatabase)
    log.warn("no `database` is given: connections are not kept from the platform's own database");
  await using telemetry = await openProcessTelemetry(config, log);
  await using load = createLoadService({
    log,
    allowPlatformDatabase: config.allowPlatformDatabase,
    allowedAddresses: readAddressList(config.allowedAddresses),
    allowedDatabaseAddresses: readAddressList(config.allowedDatabaseAddresses),
    ...(config.database === "" ? {} : { platformDatabaseUrl: config.database }),
  });
  const host = createServiceHost({
    authenticate: bySharedSecret(config.meshSecret),
    onInternalError: (error, at) => log.error("unexpected error", { ...at, error }),
    tracer: telemetry.tracing("load")?.tracer,
  }).add(LoadServiceDefinition, load.implementation);
  await using listening = await listen(host, config.listen);
  log.info("ready", { address: listening.address });
  const exporting = config.exports === "" ? undefined : exportFiles(config.database, config.exports, log, signal);
  if (!signal.aborted) await new Promise((stop) => signal.addEventListener("abort", stop, { once: true }));
  await exporting;
}

async function exportFiles(database: string, folder: string, log: Logger, signal: AbortSignal): Promise<void> {
  await using store = openStore(database, { applicationName: "onedata-load" });
  await createExportRunner({ store, folder, log, clock: { now: () => Date.now() } }).run(signal);
}
