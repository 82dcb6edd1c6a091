/**
 * The gateway: the front door, put together. Ports in, one `run` out.
 * Duty: wiring, the second's rhythm of refreshes, the order of stopping. Non-duty: reading configuration (`main.ts`), the facade's routes.
 * Invariant of stopping: no new requests, then every answer, then the last commit and its figures, then the loops. The caller disposes the store.
 */

import { randomBytes, randomInt } from "node:crypto";
import type { CaptureServiceDefinition } from "@onedata/contracts";
import { OneDataError, type TenantId, toTenantId } from "@onedata/core";
import { aborted, type Implementation } from "@onedata/mesh";
import {
  addCaptured,
  type CaptureOutcome,
  type CaptureRequest,
  captureGroup,
  ensureInstallationValue,
  findCapturePipeline,
  findClientBySubject,
  interruptSilentImports,
  openWaker,
  readClients,
  readEventStates,
  readPipelineStamps,
  readTenantFigures,
  type Store,
  stampOf,
} from "@onedata/store";
import { listenToChanges } from "@onedata/store/control";
import { readDatabaseBytes } from "@onedata/store/retention";
import type { Tracing } from "@onedata/telemetry";
import { type Authenticator, createKongAuthenticator, createTokenAuthenticator, toCaller } from "./auth/authenticator.ts";
import { createDirectory, type Directory } from "./auth/directory.ts";
import { createTokenEndpoint, type TokenEndpoint } from "./auth/token-endpoint.ts";
import { type Capture, createCapture, DEFAULT_MAX_EVENT_BYTES } from "./capture/capture.ts";
import { createCaptureHandler } from "./capture/capture-route.ts";
import { createCaptureService } from "./capture/capture-service.ts";
import { traceCommits } from "./capture/commit-span.ts";
import { createDiskGuard, type DiskFigures, type DiskGuard, type DiskOptions } from "./capture/disk-guard.ts";
import { createPipelines } from "./capture/pipelines.ts";
import { createQuotas } from "./capture/quotas.ts";
import { createCaptureWriter, type WriterStats } from "./capture/writer.ts";
import { createWaits } from "./events-wait/waits.ts";
import type { Facade, Log } from "./http/seam.ts";
import { createHttpServer, type HttpAddress } from "./http/server.ts";
import { createImportHandler } from "./imports/import-route.ts";
import { createShares, type ShareLimits, type SharesFigures, toFigures } from "./shares/shares.ts";

export type GatewayAuth =
  /** This installation issues its own tokens at `/oauth2/token`. */
  | { readonly kind: "own" }
  /** Kong has checked the token; its headers count only beside this secret. */
  | { readonly kind: "kong"; readonly sharedSecret: string };

export type GatewayPorts = {
  readonly store: Store;
  readonly auth: GatewayAuth;
  /** Every route but the hot ones. */
  readonly facade: Facade;
  readonly log: Log;
  readonly listen: { readonly host: string; readonly port: number };
  /** Tells engines that something was captured; called after each commit, must not throw, limits itself. Left out: a notification through the database. */
  readonly wake?: () => void;
  /** Further readiness checks, by name; the database is always checked. */
  readonly checks?: Readonly<Record<string, () => Promise<void>>>;
  readonly maxEventBytes?: number;
  /** What is known of the database's disk; left out: a full one is noticed when a commit fails. */
  readonly disk?: DiskOptions;
  /** Of memory that tenants share; what is left out has its default. */
  readonly shares?: ShareLimits;
  readonly drainTimeoutMs?: number;
  /** Spans of requests and commits; the facade's client has its own. */
  readonly tracing?: Tracing | undefined;
};

export interface Gateway {
  /** Serves until the signal aborts, then drains. Rejects when it cannot start. */
  run(signal: AbortSignal): Promise<void>;
  /** Resolves when it listens. */
  readonly address: Promise<HttpAddress>;
  readonly capture: Capture;
  /** The same over RPC, for whoever hosts services in this process. */
  readonly captureService: Implementation<typeof CaptureServiceDefinition>;
  readonly figures: GatewayFigures;
}

/** `writer` counts since the start; the rest is how it stands. */
export type GatewayFigures = { readonly writer: WriterStats; readonly shares: SharesFigures; readonly disk: DiskFigures };

const SIGNING_KEY = "token_signing_key";
const REFRESH_MS = 1_000;
const REPORT_MS = 60_000;
const TEND_MS = 15_000;
/** A living upload says so more often. */
const SILENT_SECONDS = 90;
const DEFAULT_DRAIN_MS = 15_000;

export function createGateway(ports: GatewayPorts): Gateway {
  const { store, log } = ports;
  const maxEventBytes = ports.maxEventBytes ?? DEFAULT_MAX_EVENT_BYTES;
  const stripe = randomInt(0, 1024);
  const directory = createDirectory(
    { bySubject: (subject) => findClientBySubject(store.sql, subject), byIds: (ids) => readClients(store.sql, ids) },
    log,
  );
  const shares = createShares(ports.shares);
  const pipelines = createPipelines(
    { find: (tenantId, name) => findCapturePipeline(store.sql, tenantId, name), stamps: (ids) => readPipelineStamps(store.sql, ids), stampOf },
    shares.lookups,
    log,
  );
  const quotas = createQuotas(
    { read: (tenants) => readTenantFigures(store.sql, tenants), addCaptured: (counts) => addCaptured(store.sql, counts, stripe) },
    log,
  );
  const waker = ports.wake === undefined ? openWaker(store.url) : undefined;
  const wake = ports.wake ?? (() => waker?.wake());
  const stopping = new AbortController();
  const disk = createDiskGuard(ports.disk ?? {}, { databaseBytes: () => readDatabaseBytes(store.sql) }, log);
  const commit = traceCommits(ports.tracing?.tracer, (requests) => commitGuarded(store, disk, requests));
  const writer = createCaptureWriter({ commit, committed: wake, share: shares.events });
  const capture = createCapture({ pipelines, quotas, disk, writer, maxEventBytes });
  const waits = createWaits((events) => readEventStates(store.sql, events), shares.waiters, log);

  let listening: (address: HttpAddress) => void;
  let failed: (error: unknown) => void;
  const address = new Promise<HttpAddress>((resolve, reject) => {
    listening = resolve;
    failed = reject;
  });
  // Whoever runs the gateway gets the error from `run`.
  address.catch(() => undefined);

  async function start(): Promise<Started> {
    const { authenticator, token } = await openAuth(ports, directory);
    const server = createHttpServer(
      {
        capture: createCaptureHandler({ authenticator, capture, waits, requests: shares.requests, maxEventBytes, log }),
        imports: createImportHandler({
          authenticator,
          store,
          pipelines,
          quotas,
          disk,
          imports: shares.imports,
          wake,
          log,
          maxEventBytes,
          stopping: stopping.signal,
        }),
        token,
        facade: ports.facade,
        caller: (request) => toCaller(authenticator, request),
        calls: shares.calls,
        checks: { database: async () => void (await store.sql`select 1`), ...ports.checks },
      },
      { ...ports.listen, drainTimeoutMs: ports.drainTimeoutMs ?? DEFAULT_DRAIN_MS, log, tracing: ports.tracing },
    );
    const changes = await listenToChanges(store.sql, (tenant, subject) => {
      const name = /^pipelines\/(.+)$/.exec(subject)?.[1];
      if (name !== undefined && /^\d+$/.test(tenant)) pipelines.forget(toTenant(tenant), name);
      // A revoked client is out at once; the second's rhythm finds what this misses.
      else if (subject.startsWith("clients/")) void directory.refresh();
    });
    return { server, changes };
  }

  let reported = 0;
  /** Whoever runs this shall see that tenants are being held back, and by what. */
  function reportRefusals(): void {
    const figures = toFigures(shares);
    const refused = Object.values(figures).reduce((sum, share) => sum + share.refused, 0);
    if (refused > reported) log.warn("requests were refused for want of room", { ...figures });
    reported = refused;
  }

  async function run(signal: AbortSignal): Promise<void> {
    let started: Started;
    try {
      started = await start();
      listening(await started.server.listen());
    } catch (error) {
      failed(error);
      throw error;
    }
    const loops = new AbortController();
    const reporting = repeat(REPORT_MS, loops.signal, () => Promise.resolve(reportRefusals()));
    const refreshing = repeat(REFRESH_MS, loops.signal, () =>
      Promise.all([directory.refresh(), pipelines.refresh(), quotas.refresh(), disk.refresh()]),
    );
    const tending = repeat(TEND_MS, loops.signal, () =>
      interruptSilentImports(store.sql, SILENT_SECONDS).catch((error: unknown) => log.warn("silent imports could not be marked", { error })),
    );
    await aborted(signal);
    stopping.abort();
    await started.server.drain();
    await writer.drain();
    loops.abort();
    await Promise.all([refreshing, tending, reporting]);
    await quotas.refresh();
    await started.changes[Symbol.asyncDispose]();
    await waker?.[Symbol.asyncDispose]();
  }

  return {
    run,
    address,
    capture,
    captureService: createCaptureService(capture, waits),
    get figures() {
      return { writer: writer.stats, shares: toFigures(shares), disk: disk.figures };
    },
  };
}

async function commitGuarded(store: Store, disk: DiskGuard, requests: readonly CaptureRequest[]): Promise<CaptureOutcome[][]> {
  try {
    const outcomes = await captureGroup(store, requests);
    disk.noteOutcomes(outcomes);
    return outcomes;
  } catch (error) {
    // Nothing was sent: the database could not be reached.
    disk.noteError(new OneDataError("store.unavailable", "the database cannot be reached", { cause: error }));
    throw error;
  }
}

type Started = { readonly server: ReturnType<typeof createHttpServer>; readonly changes: AsyncDisposable };

async function openAuth(ports: GatewayPorts, directory: Directory): Promise<{ authenticator: Authenticator; token: TokenEndpoint | undefined }> {
  if (ports.auth.kind === "kong") return { authenticator: createKongAuthenticator(ports.auth.sharedSecret, directory), token: undefined };
  const key = Buffer.from(await ensureInstallationValue(ports.store.sql, SIGNING_KEY, () => randomBytes(32).toString("base64")), "base64");
  return { authenticator: createTokenAuthenticator(key, directory), token: createTokenEndpoint(key, directory) };
}

// The notification carries the tenant's id as text.
const toTenant = (text: string): TenantId => toTenantId(BigInt(text));

/** Waits `everyMs` between the end of one turn and the start of the next; the work catches its own errors. */
async function repeat(everyMs: number, signal: AbortSignal, work: () => Promise<unknown>): Promise<void> {
  while (!signal.aborted) {
    await work();
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, everyMs);
      signal.addEventListener("abort", done, { once: true });
    });
  }
}
