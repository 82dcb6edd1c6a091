/**
 * The control plane: pipelines, catalogue, connections, lookups, events, dead letters, imports, tenants.
 * Duty: composes the services over their ports and keeps the catalogue fresh. Non-duty: hosting (the service host), reading configuration (main).
 */
import {
  CatalogServiceDefinition,
  ConnectionServiceDefinition,
  DeadLetterServiceDefinition,
  EventServiceDefinition,
  ImportServiceDefinition,
  LabServiceDefinition,
  LookupServiceDefinition,
  PipelineServiceDefinition,
  readContract,
  TenantServiceDefinition,
  type TransformServiceDefinition,
} from "@onedata/contracts";
import { OneDataError } from "@onedata/core";
import { type Client, type ServiceHost, sleep } from "@onedata/mesh";
import { type Store, sweep } from "@onedata/store";
import { continueDiscards, createSecretBox, finishImports } from "@onedata/store/control";
import { createCatalogue, type DescribedService } from "./catalogue/catalogue.ts";
import { createLab } from "./lab/lab.ts";
import { createCatalogService } from "./services/catalog-service.ts";
import { createConnectionService } from "./services/connection-service.ts";
import { createDeadLetterService } from "./services/dead-letter-service.ts";
import { createEventService } from "./services/event-service.ts";
import { createImportService } from "./services/import-service.ts";
import { createLabService } from "./services/lab-service.ts";
import { createLookupService } from "./services/lookup-service.ts";
import { createPipelineService } from "./services/pipeline-service.ts";
import { createSinkChecker, type LoadClient } from "./services/sink-checker.ts";
import { createTenantService } from "./services/tenant-service.ts";
import { createSpecChecker } from "./spec/spec-checker.ts";
import { sweepDeleted } from "./sweep.ts";

export type ControlPorts = {
  readonly store: Pick<Store, "sql">;
  /** Each is asked for its operations; on a name that two have, the first wins. */
  readonly transform: readonly { readonly address: string; readonly client: Client<typeof TransformServiceDefinition> }[];
  readonly load: { readonly address: string; readonly client: LoadClient };
  /** 32 bytes as base64 or hex; encrypts connections' secrets. */
  readonly secretKey: string;
  readonly log: { warn(message: string, fields: Readonly<Record<string, unknown>>): void };
};

export interface Control {
  /** Registers every service of control with a host. */
  addTo(host: ServiceHost): void;
  /** Keeps the catalogue fresh, removes deleted pipelines, notes finished imports, and does the database's upkeep, until aborted. Never rejects for what the next round may mend. */
  run(signal: AbortSignal): Promise<void>;
}

const REFRESH_MS = 30_000;
/** Until all services have answered once: at start they come up together. */
const FIRST_REFRESH_MS = 500;
const SWEEP_MS = 2_000;
/** Partitions ahead, old idempotency keys, stranded lanes. */
const UPKEEP_MS = 60_000;
const GRACE_SECONDS = 10;
const DISCARD_BUDGET_MS = 10_000;

export function createControl(ports: ControlPorts): Control {
  const { sql } = ports.store;
  const box = createSecretBox(ports.secretKey);
  const transformers = new Map<string, Client<typeof TransformServiceDefinition>>();
  const catalogue = createCatalogue(toDescribed(ports, transformers));
  const sinks = createSinkChecker({ sql, box, load: () => ports.load.client });
  const checker = createSpecChecker({ sql, catalogue, sinks });
  const lab = createLab({ transform: (service) => transformers.get(service), sinks });
  const knownScopes = new Set(
    readContract()
      .methods.flatMap((method) => method.policy.scopes)
      .filter((scope) => scope !== "mesh:call"),
  );
  return {
    addTo(host) {
      host
        .add(PipelineServiceDefinition, createPipelineService({ sql, checker, lab }))
        .add(LabServiceDefinition, createLabService({ sql, checker, lab }))
        .add(EventServiceDefinition, createEventService({ sql }))
        .add(DeadLetterServiceDefinition, createDeadLetterService({ sql }))
        .addPartial(ImportServiceDefinition, createImportService({ sql }))
        .add(CatalogServiceDefinition, createCatalogService({ catalogue }))
        .add(ConnectionServiceDefinition, createConnectionService({ sql, box, sinks }))
        .add(LookupServiceDefinition, createLookupService({ sql }))
        .add(TenantServiceDefinition, createTenantService({ sql, knownScopes }));
    },
    async run(signal) {
      await Promise.all([
        repeat("the catalogue could not be refreshed", ports, signal, async () => {
          await catalogue.refresh();
          for (const [address, problem] of catalogue.unreachable)
            ports.log.warn("a service does not describe itself; its last answer stays", { address, problem });
          return catalogue.unreachable.size > 0 ? FIRST_REFRESH_MS * 10 : REFRESH_MS;
        }),
        repeat("deleted pipelines could not be swept", ports, signal, async () => {
          await sweepDeleted(sql, { graceSeconds: GRACE_SECONDS, signal });
          await continueDiscards(sql, DISCARD_BUDGET_MS);
          await finishImports(sql);
          return SWEEP_MS;
        }),
        repeat("the database's upkeep failed", ports, signal, async () => {
          await sweep(sql, signal);
          return UPKEEP_MS;
        }),
      ]);
    },
  };
}

/** Notes in `transformers` who answers to which name. */
function toDescribed({ transform, load }: ControlPorts, transformers: Map<string, Client<typeof TransformServiceDefinition>>): DescribedService[] {
  return [
    ...transform.map(
      ({ address, client }): DescribedService => ({
        kind: "operation",
        address,
        describe: async (signal) => {
          const { service, operations } = await client.describe({}, { signal });
          if (!transformers.has(service)) transformers.set(service, client);
          return { service, operations };
        },
      }),
    ),
    {
      kind: "sink",
      address: load.address,
      describe: async (signal) => {
        const { service, sinks } = await load.client.describe({}, { signal });
        return { service, operations: sinks };
      },
    },
  ];
}

/** Runs `work` until aborted; it answers after how many milliseconds to run again. */
async function repeat(problem: string, { log }: ControlPorts, signal: AbortSignal, work: () => Promise<number>): Promise<void> {
  while (!signal.aborted) {
    let waitMs = FIRST_REFRESH_MS;
    try {
      waitMs = await work();
    } catch (error) {
      if (signal.aborted) return;
      log.warn(problem, { error: OneDataError.from(error).message });
    }
    await sleep(waitMs, signal);
  }
}
