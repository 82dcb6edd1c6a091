/**
 * The real `performRun` over the real store, and a load service with a ledger; between any two of their steps stands a point where a test lets it die or stop.
 * For tests. Points: before each statement is sent and after it is answered, before and after each call, and inside the sink's transaction.
 */
import { randomUUID } from "node:crypto";
import { createSinkWitness } from "@onedata/core";
import { claimRun, type Store } from "@onedata/store";
import { claimLedger, type LedgerClaim, readLedger } from "@onedata/store/ledger";
import { DeathWatch } from "./death-watch.ts";
import { createOpenRuns, type OpenRuns } from "./open-runs.ts";
import { type PerformDeps, performRun } from "./perform-run.ts";
import { createPlanCache } from "./plan-cache.ts";
import { createServiceCalls, type LoadClient, type ServiceClients, type TransformClient } from "./service-calls.ts";
import { createServiceLimit } from "./service-limit.ts";
import { createProbe } from "./service-probe.ts";

export type Point = () => Promise<void>;

export type PerformerOptions = {
  /** The incarnation that claims. */
  readonly engine: string;
  readonly clients: ServiceClients;
  readonly point?: Point;
  readonly deadlineMs?: number;
  readonly monotonicMs?: () => number;
};

export interface Performer {
  readonly openRuns: OpenRuns;
  /** One run, to its end; false when there was none. */
  perform(suspect?: boolean): Promise<boolean>;
}

export const INSTALLATION = randomUUID();
const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };
const noPoint = (): Promise<void> => Promise.resolve();

export function createPerformer(
  given: Store,
  { engine, clients, point = noPoint, deadlineMs = 60_000, monotonicMs = () => performance.now() }: PerformerOptions,
): Performer {
  const store: Store = {
    ...given,
    sql: withPoints(given.sql, point),
    claim: withPoints(given.claim, point),
    lease: withPoints(given.lease, point),
    completion: withPoints(given.completion, point),
  };
  const openRuns = createOpenRuns(deadlineMs, monotonicMs);
  const limit = createServiceLimit({ maxCalls: 8, maxWaitMs: 10_000 });
  const deps: PerformDeps = {
    store,
    plans: createPlanCache(store),
    calls: createServiceCalls({ clients: pointedClients(clients, point), limit, probe: createProbe(), monotonicMs }),
    deaths: new DeathWatch(store, quiet),
    openRuns,
    installation: INSTALLATION,
    deadlineMs,
    monotonicMs,
    // The worst case: it believes that its lease is fresh, whatever has happened.
    lease: { assertFresh: () => undefined, signalOf: () => new AbortController().signal },
    run: { witness: createSinkWitness(), evaluateWhen: () => true, connection: () => Promise.reject(new Error("no connections here")) },
    random: () => 0.5,
    completed: () => undefined,
    log: quiet,
  };
  return {
    openRuns,
    async perform(suspect = false) {
      const { run } = await claimRun(store, { runId: randomUUID(), owner: engine, deadlineMs, maxEvents: 40, suspect });
      if (run !== undefined) await performRun(run, "poll", deps);
      return run !== undefined;
    },
  };
}

/** Writes `sink_rows (pipeline, v)` behind the ledger, in one transaction per call. */
export function createLedgerLoad(store: Store, point: Point = noPoint): LoadClient {
  return {
    describe: () => Promise.reject(new Error("not asked")),
    checkSink: () => Promise.reject(new Error("not asked")),
    checkConnection: () => Promise.reject(new Error("not asked")),
    async write({ groups = [] }) {
      const records = groups.flatMap(({ pipeline = "", sinkId = "", records: own = [] }) =>
        own.map(({ n = 0, json, source }) => {
          const { batchId = 0n, generation = 0, n: ordinal = 0 } = source ?? {};
          const value = JSON.parse(new TextDecoder().decode(json)) as { v: number };
          return { n, v: value.v, pipeline, ordinal, key: { batchId: BigInt(batchId), generation, sink: `${pipeline}/${sinkId}` } };
        }),
      );
      const textOf = (key: Omit<LedgerClaim, "ordinals">): string => `${key.batchId}/${key.generation}/${key.sink}`;
      const keys = new Map(records.map(({ key }) => [textOf(key), key]));
      let claims: readonly LedgerClaim[] = [...keys].map(([text, key]) => ({
        ...key,
        ordinals: records.filter((record) => textOf(record.key) === text).map(({ ordinal }) => ordinal),
      }));
      for (let isDone = false; !isDone; ) {
        const wanted = new Map(claims.map((claim) => [textOf(claim), new Set(claim.ordinals)]));
        const overlaps = new Error("overlaps");
        isDone = await store.sql
          .begin(async (transaction) => {
            await point();
            if ((await claimLedger(transaction, INSTALLATION, claims)).length > 0) throw overlaps;
            await point();
            for (const { key, ordinal, pipeline, v } of records)
              if (wanted.get(textOf(key))?.has(ordinal) === true) await transaction`insert into sink_rows (pipeline, v) values (${pipeline}, ${v})`;
            await point();
            return true;
          })
          .catch((error: unknown) => {
            if (error === overlaps) return false;
            throw error;
          });
        if (!isDone) claims = await readLedger(store.sql, INSTALLATION, claims);
      }
      return { results: records.map(({ n }) => ({ n, outcome: { $case: "written" as const, value: {} } })) };
    },
  };
}

function pointedClients(clients: ServiceClients, point: Point): ServiceClients {
  const around =
    <A extends readonly unknown[], R>(call: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      await point();
      const answer = await call(...args);
      await point();
      return answer;
    };
  return {
    transform: (service) => {
      const client = clients.transform(service);
      return client === undefined ? undefined : ({ ...client, apply: around(client.apply) } satisfies TransformClient);
    },
    load: (service) => {
      const client = clients.load(service);
      return client === undefined ? undefined : ({ ...client, write: around(client.write) } satisfies LoadClient);
    },
  };
}

/** The same client or transaction; its statements pass a point before they are sent and after they are answered. */
function withPoints<S extends object>(sql: S, point: Point): S {
  const watch = (made: unknown): unknown => (isStatement(made) ? watchStatement(made, point) : made);
  return new Proxy(sql, {
    apply: (target, self, args) => watch(Reflect.apply(target as (...args: unknown[]) => unknown, self, args)),
    get(target, name) {
      const member: unknown = Reflect.get(target, name);
      if (typeof member !== "function") return member;
      if (name === "begin")
        return (...args: unknown[]) =>
          Reflect.apply(
            member,
            target,
            args.map((arg) =>
              typeof arg === "function" ? (transaction: object) => Reflect.apply(arg, undefined, [withPoints(transaction, point)]) : arg,
            ),
          );
      return (...args: unknown[]) => watch(Reflect.apply(member, target, args));
    },
  });
}

type Statement = object & PromiseLike<unknown>;
const isStatement = (made: unknown): made is Statement => typeof made === "object" && made !== null && "then" in made && "execute" in made;

/** The driver sends a statement when somebody waits for it. */
const watchStatement = (statement: Statement, point: Point): Statement =>
  new Proxy(statement, {
    get(target, name) {
      if (name === "then") {
        return (resolved: () => unknown, rejected: () => unknown) =>
          (async () => {
            await point();
            const answer = await target;
            await point();
            return answer;
          })().then(resolved, rejected);
      }
      const member: unknown = Reflect.get(target, name);
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
