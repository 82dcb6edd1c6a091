/** The transform service in a worker thread: slow expressions stall neither accepts nor lease renewals. Solo starts it through the worker transport. */
import { TransformServiceDefinition } from "@onedata/contracts";
import { toTenantId } from "@onedata/core";
import { bySharedSecret, createServiceHost, readWorkerStart, serveWorker } from "@onedata/mesh";
import { openStore } from "@onedata/store";
import { createLookups } from "@onedata/store/control";
import { createTransformService } from "./transform-service.ts";

export type TransformWorkerData = { readonly databaseUrl: string; readonly meshSecret: string };

const isData = (value: unknown): value is TransformWorkerData =>
  typeof value === "object" &&
  value !== null &&
  "databaseUrl" in value &&
  typeof value.databaseUrl === "string" &&
  "meshSecret" in value &&
  typeof value.meshSecret === "string";

const { port, data } = readWorkerStart();
if (!isData(data)) throw new Error("the transform worker needs databaseUrl and meshSecret");
const store = openStore(data.databaseUrl, { maxConnections: 2, applicationName: "onedata-transform" });
const lookups = createLookups(store.sql);
const service = createTransformService({ lookups: (tenant) => lookups.forTenant(toTenantId(BigInt(tenant))) });
serveWorker(createServiceHost({ authenticate: bySharedSecret(data.meshSecret) }).add(TransformServiceDefinition, service), port);
