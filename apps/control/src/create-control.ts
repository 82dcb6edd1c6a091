/**
 * The control plane: pipelines, catalogue, connections, lookups, events, dead letters, jobs, imports, tenants, webhooks, retention, and the look at the whole.
 * Duty: composes the services over their ports, keeps the catalogue fresh, and repeats the background work of each. Non-duty: hosting (the service host), reading configuration (main).
 */
import { setMaxListeners } from "node:events";
import {
  CatalogServiceDefinition,
  ConnectionServiceDefinition,
  DeadLetterServiceDefinition,
  EventServiceDefinition,
  ImportServiceDefinition,
  JobServiceDefinition,
  LabServiceDefinition,
  LookupServiceDefinition,
  PipelineServiceDefinition,
  readContract,
  SubscriptionServiceDefinition,
  SystemServiceDefinition,
  TenantServiceDefinition,
  type TransformServiceDefinition,
} from "@onedata/contracts";
import { OneDataError } from "@onedata/core";
import { type Client, type ServiceHost, sleep } from "@onedata/mesh";
import { createAddressPolicy, createHttpClient } from "@onedata/sinks";
import { detectGrowth, detectOutages, pruneNotifications, type Store, sweep } from "@onedata/store";
import { continueDiscards, createSecretBox, finishImports } from "@onedata/store/control";
import { DEFAULT_MAX, eraseTenants, type RetentionDays } from "@onedata/store/retention";
import { createCatalogue, type DescribedService } from "./catalogue/catalogue.ts";
import { createUnreachableTeller } from "./catalogue/tell-unreachable.ts";
import { runJobs } from "./jobs/job-runner.ts";
import { createLab } from "./lab/lab.ts";
import { createWatch } from "./reconcile/watch.ts";
import { readDiskFreeOf } from "./retention/disk-free.ts";
import { purgeLedgers } from "./retention/purge-ledgers.ts";
import { createRetentionRound } from "./retention/retention-loop.ts";
import { createCatalogService } from "./services/catalog-service.ts";
import { createConnectionService } from "./services/connection-service.ts";
import { createDeadLetterService } from "./services/dead-letter-service.ts";
import { createEventService } from "./services/event-service.ts";
import { createImportService } from "./services/import-service.ts";
import { createJobService } from "./services/job-service.ts";
import { createLabService } from "./services/lab-service.ts";
import { createLookupService } from "./services/lookup-service.ts";
import { createPipelineService } from "./services/pipeline-service.ts";
import { createSinkChecker, type LoadClient } from "./services/sink-checker.ts";
import { createStepChecker } from "./services/step-checker.ts";
import { createSubscriptionService } from "./services/subscription-service.ts";
import { createSystemService } from "./services/system-service.ts";
import { createTenantService } from "./services/tenant-service.ts";
import { createWrittenReader } from "./services/written.ts";
import { createSpecChecker } from "./spec/spec-checker.ts";
import { sweepDeleted } from "./sweep.ts";
import { createWebhooks } from "./webhooks/webhooks.ts";

export type ControlPorts = {
  readonly store: Pick<Store, "sql" | "url">;
  /** Each is asked for its operations; on a name that two have, the first wins. */
  readonly transform: readonly { readonly address: string; readonly client: Client<typeof TransformServiceDefinition> }[];
  readonly load: { readonly address: string; readonly client: LoadClient };
  /** 32 bytes as base64 or hex; encrypts connections' secrets. */
  readonly secretKey: string;
  /** The operator's maximum for tenants. */
  readonly retention?: RetentionDays;
  /** Where the database's data lies, when that is on this machine: operators see what is free there. */
  readonly databaseFolder?: string | undefined;
  /** Private hosts, addresses or CIDR ranges that webhooks may reach. */
  readonly allowedAddresses?: readonly string[];
  /** Where tenants' databases may be, beside the public internet, for the deep diagnosis and the purge of ledgers; absent = anywhere. */
  readonly allowedDatabaseAddresses?: readonly string[];
  readonly log: { warn(message: string, fields: Readonly<Record<string, unknown>>): void };
};

export interface Control {
  /** Registers every service of control with a host. */
  addTo(host: ServiceHost): void;
  /** Keeps the catalogue fresh, removes deleted pipelines, notes finished imports, sends webhooks, compares what must agree, and does the database's upkeep, until aborted. Never rejects for what the next round may mend. */
  run(signal: AbortSignal): Promise<void>;
  /** What the reconciler saw last, as OpenMetrics text. */
  metrics(): string;
}

const REFRESH_MS = 30_000;
/** Until all services have answered once: at start they come up together. */
const FIRST_REFRESH_MS = 500;
const SWEEP_MS = 2_000;
/** Partitions ahead, old idempotency keys, stranded lanes. */
const UPKEEP_MS = 60_000;
/** Blocked lanes and new dead letters, for who wants to be told. */
const DETECT_MS = 5_000;
/** Shorter outages are not worth a message. */
const OUTAGE_TOLD_AFTER_MS = 60_000;
/** What retention drops, it drops once a day. */
const LEDGERS_MS = 3_600_000;
const GRACE_SECONDS = 10;
const DISCARD_BUDGET_MS = 10_000;

export function createControl(ports: ControlPorts): Control {
  const { sql } = ports.store;
  const box = createSecretBox(ports.secretKey);
  const transformers = new Map<string, Client<typeof TransformServiceDefinition>>();
  const catalogue = createCatalogue(toDescribed(ports, transformers));
  const sinks = createSinkChecker({ sql, box, load: () => ports.load.client });
  const steps = createStepChecker({ sinks, transform: (service) => transformers.get(service) });
  const checker = createSpecChecker({ sql, catalogue, sinks, steps });
  const lab = createLab({ transform: (service) => transformers.get(service), sinks });
  const policy = createAddressPolicy(ports.allowedAddresses);
  const client = createHttpClient({ allowedAddresses: ports.allowedAddresses ?? [], followRedirects: false, maxSocketsPerHost: 40 });
  const webhooks = createWebhooks({ sql, box, client, log: ports.log, now: Date.now, random: Math.random });
  const max = ports.retention ?? DEFAULT_MAX;
  const watch = createWatch({
    maxRetention: max,
    sql,
    box,
    allowedDatabaseAddresses: ports.allowedDatabaseAddresses,
    services: catalogue,
    log: ports.log,
    now: Date.now,
    random: Math.random,
  });
  const retain = createRetentionRound({ store: ports.store, max, log: ports.log, now: () => new Date() });
  const knownScopes = new Set(
    readContract()
      .methods.flatMap((method) => method.policy.scopes)
      .filter((scope) => scope !== "mesh:call"),
  );
  return {
    addTo(host) {
      host
        .add(PipelineServiceDefinition, createPipelineService({ sql, checker, lab, catalogue }))
        .add(LabServiceDefinition, createLabService({ sql, checker, lab }))
        .add(EventServiceDefinition, createEventService({ sql, written: createWrittenReader({ sql, lab, catalogue, log: ports.log }) }))
        .add(DeadLetterServiceDefinition, createDeadLetterService({ sql, checker, lab }))
        .addPartial(ImportServiceDefinition, createImportService({ sql }))
        .add(CatalogServiceDefinition, createCatalogService({ catalogue }))
        .add(ConnectionServiceDefinition, createConnectionService({ sql, box, sinks }))
        .add(LookupServiceDefinition, createLookupService({ sql }))
        .add(
          TenantServiceDefinition,
          createTenantService({ sql, knownScopes, maxRetention: max, readDiskFree: readDiskFreeOf(ports.databaseFolder) }),
        )
        .add(JobServiceDefinition, createJobService({ sql }))
        .add(SubscriptionServiceDefinition, createSubscriptionService({ sql, box, webhooks, client, policy }))
        .add(SystemServiceDefinition, createSystemService({ watch }));
    },
    async run(signal) {
      const tellUnreachable = createUnreachableTeller(ports.log);
      // Every loop below waits on it: more than ten are no leak.
      setMaxListeners(64, signal);
      await Promise.all([
        repeat("the catalogue could not be refreshed", ports, signal, async () => {
          await catalogue.refresh();
          tellUnreachable(catalogue.unreachable);
          return catalogue.unreachable.size > 0 ? FIRST_REFRESH_MS * 10 : REFRESH_MS;
        }),
        repeat("deleted pipelines could not be swept", ports, signal, async () => {
          await sweepDeleted(sql, { graceSeconds: GRACE_SECONDS, signal });
          await continueDiscards(sql, DISCARD_BUDGET_MS);
          await finishImports(sql);
          return SWEEP_MS;
        }),
        repeat("tenants could not be erased", ports, signal, async () => ((await eraseTenants(sql, { signal })) > 0 ? FIRST_REFRESH_MS : SWEEP_MS)),
        repeat("ledgers of sinks could not be tidied", ports, signal, async () => {
          await sleep(LEDGERS_MS, signal);
          if (!signal.aborted) await purgeLedgers({ sql, box, allowedDatabaseAddresses: ports.allowedDatabaseAddresses, log: ports.log }, signal);
          return 0;
        }),
        repeat("old data could not be dropped", ports, signal, () => retain(signal)),
        repeat("the database's upkeep failed", ports, signal, async () => {
          await sweep(sql, signal);
          await pruneNotifications(sql, signal);
          return UPKEEP_MS;
        }),
        repeat("outages and new dead letters could not be looked for", ports, signal, async () => {
          await detectOutages(sql, { afterMs: OUTAGE_TOLD_AFTER_MS });
          await detectGrowth(sql);
          return DETECT_MS;
        }),
        runJobs({ sql, log: ports.log }, signal),
        webhooks.run(signal).finally(() => client.close()),
        watch.run(signal),
      ]);
    },
    metrics: () => watch.metrics(),
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
