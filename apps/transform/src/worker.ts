/** The transform service in a worker thread: slow expressions stall neither accepts nor lease renewals. Solo starts it through the worker transport. */
import { TransformServiceDefinition } from "@onedata/contracts";
import { toTenantId } from "@onedata/core";
import {
  bySharedSecret,
  createLogger,
  createServiceHost,
  openProcessTelemetry,
  readWorkerStart,
  serveWorker,
  type TelemetrySettings,
} from "@onedata/mesh";
import { createPostgresLookups, identityOfUrl } from "@onedata/sinks/lookup";
import { openStore } from "@onedata/store";
import { createLookups } from "@onedata/store/control";
import { createTransformService } from "./transform-service.ts";

export type TransformWorkerData = {
  readonly databaseUrl: string;
  readonly meshSecret: string;
  /** Beside the public internet; as the load service has it. */
  readonly allowedDatabaseAddresses: readonly string[];
  readonly telemetry: TelemetrySettings;
};

const isData = (value: unknown): value is TransformWorkerData =>
  typeof value === "object" &&
  value !== null &&
  "databaseUrl" in value &&
  typeof value.databaseUrl === "string" &&
  "meshSecret" in value &&
  typeof value.meshSecret === "string" &&
  "allowedDatabaseAddresses" in value &&
  Array.isArray(value.allowedDatabaseAddresses) &&
  "telemetry" in value;

const { port, data } = readWorkerStart();
if (!isData(data)) throw new Error("the transform worker needs databaseUrl, meshSecret, allowedDatabaseAddresses and telemetry");
const store = openStore(data.databaseUrl, { maxConnections: 2, applicationName: "onedata-transform" });
const lookups = createLookups(store.sql);
const databases = createPostgresLookups({
  platformDatabase: identityOfUrl(data.databaseUrl),
  allowedAddresses: data.allowedDatabaseAddresses,
});
const service = createTransformService({ lookups: (tenant) => lookups.forTenant(toTenantId(BigInt(tenant))), databases });
const telemetry = await openProcessTelemetry(data.telemetry, createLogger({ name: "transform" }));
const { tracer } = telemetry.tracing("transform") ?? {};
const host = createServiceHost({ authenticate: bySharedSecret(data.meshSecret), tracer }).add(TransformServiceDefinition, service);
// Nothing is left to keep the thread then. One that is ended takes its connections with it.
port.on("close", () => void Promise.allSettled([databases, telemetry, store].map((opened) => opened[Symbol.asyncDispose]())));
serveWorker(host, port);
