/**
 * The platform's own load service: the sinks of `libs/sinks` behind the notation for teams.
 * Invariants: exactly one result per record; a fault of one group is an outcome of its records, never of its neighbours'; no secret of a connection is logged or answered.
 */
import { type LoadServiceDefinition, loadV1, type transformV1 } from "@onedata/contracts";
import { isJsonObject, type JsonObject, OneDataError } from "@onedata/core";
import { parseJson } from "@onedata/formats";
import { type Implementation, type Logger, toOperation } from "@onedata/mesh";
import { type ConnectionConfig, createSinks, identityOfUrl, type SinkGroup, type Sinks, type SourceEvent, type WriteOutcome } from "@onedata/sinks";

export type LoadDeps = {
  readonly log?: Logger;
  /** postgres://… of the platform's own database, which sinks may not write to. Absent = not known here, nothing is compared. */
  readonly platformDatabaseUrl?: string;
  readonly allowPlatformDatabase?: boolean;
  /** Private host names, addresses or CIDR ranges that HTTP sinks may reach. */
  readonly allowedAddresses?: readonly string[];
  /** The same for databases; absent = any address. */
  readonly allowedDatabaseAddresses?: readonly string[];
};

export interface LoadService extends AsyncDisposable {
  readonly implementation: Implementation<typeof LoadServiceDefinition>;
}

export const LOAD = "load";

export function createLoadService(deps: LoadDeps = {}): LoadService {
  const sinks = createSinks({
    postgres: {
      ...(deps.platformDatabaseUrl === undefined ? {} : { platformDatabase: identityOfUrl(deps.platformDatabaseUrl) }),
      allowPlatformDatabase: deps.allowPlatformDatabase ?? false,
      ...(deps.allowedDatabaseAddresses === undefined ? {} : { allowedAddresses: deps.allowedDatabaseAddresses }),
    },
    http: { allowedAddresses: deps.allowedAddresses ?? [] },
  });
  return { implementation: implement(sinks, deps.log), [Symbol.asyncDispose]: () => sinks[Symbol.asyncDispose]() };
}

function implement(sinks: Sinks, log: Logger | undefined): Implementation<typeof LoadServiceDefinition> {
  return {
    describe: () =>
      Promise.resolve({
        service: LOAD,
        version: "1",
        sinks: sinks.list.map((sink) => toOperation(sink.description, { engineHandled: sink.handledBy === "engine" })),
      }),

    async write(request, { signal }) {
      const groups: SinkGroup[] = [];
      const results: WriteResultInit[] = [];
      for (const group of request.groups) {
        try {
          groups.push(toGroup(group));
        } catch (error) {
          const { code, message } = OneDataError.from(error);
          for (const { n } of group.records) results.push(toResult(n, { kind: "failed", code, message, retryable: false }));
        }
      }
      const outcomes = await sinks.write(groups, { installation: request.installation, runId: request.runId, signal });
      for (const [n, outcome] of outcomes) results.push(toResult(n, outcome));
      const failed = [...outcomes.values()].find((outcome) => outcome.kind === "failed" && outcome.retryable && outcome.blame !== "none");
      if (failed?.kind === "failed")
        log?.warn(failed.blame === undefined ? "a sink is away" : "a sink failed", {
          runId: request.runId,
          code: failed.code,
          message: failed.message,
        });
      return { results };
    },

    async checkSink(request, { signal }) {
      const connection = toConnection(request.connection);
      const problems = await sinks.check(request.sink, {
        config: readObject(request.configJson, "the sink's config"),
        tenant: request.tenant,
        signal,
        ...(connection === undefined ? {} : { connection }),
      });
      return { problems: problems.map(({ pointer, code, detail }) => ({ pointer, code, detail })) };
    },

    async checkConnection(request, { signal }) {
      const connection = toConnection(request.connection);
      return { problem: connection === undefined ? "no connection is given" : await sinks.checkConnection(connection, "", signal) };
    },
  };
}

function toGroup(group: loadV1.WriteGroup): SinkGroup {
  const connection = toConnection(group.connection);
  return {
    kind: group.sink,
    sinkId: group.sinkId,
    pipeline: group.pipeline,
    version: group.version,
    tenant: group.tenant,
    config: readObject(group.configJson, "the sink's config"),
    configHash: group.configHash,
    ...(connection === undefined ? {} : { connection }),
    records: group.records.map((record) => ({
      n: record.n,
      key: record.key,
      json: toText(record.json),
      timeUnixMs: Number(record.timeUnixNanos / 1_000_000n),
      source: toSource(record.source),
    })),
    empty: group.empty.map(toSource),
  };
}

/** Without its source an effect could not be told from another one. */
function toSource(source: loadV1.SourceEvent | undefined): SourceEvent {
  if (source === undefined) throw new OneDataError("request.invalid", "a record of Write names no source event");
  return { batchId: source.batchId, seq: source.seq, n: source.n, generation: source.generation };
}

function toConnection(connection: transformV1.Connection | undefined): ConnectionConfig | undefined {
  return connection === undefined
    ? undefined
    : { name: connection.name, kind: connection.kind, config: readObject(connection.configJson, `the connection ${connection.name}`) };
}

/** The text itself is not shown: it may hold secrets. */
function readObject(bytes: Uint8Array, what: string): JsonObject {
  let value: ReturnType<typeof parseJson> | undefined;
  try {
    value = bytes.byteLength === 0 ? {} : parseJson(toText(bytes));
  } catch {
    value = undefined;
  }
  if (!isJsonObject(value)) throw new OneDataError("config.invalid", `${what} is not a JSON object`);
  return value;
}

const toText = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8");

const BLAME = { unclear: loadV1.Blame.UNCLEAR, none: loadV1.Blame.NONE } as const;

type WriteResultInit = { n: number; outcome: NonNullable<loadV1.WriteResult["outcome"]> };

function toResult(n: number, outcome: WriteOutcome): WriteResultInit {
  switch (outcome.kind) {
    case "written":
      return { n, outcome: { $case: "written", value: {} } };
    case "duplicate":
      return { n, outcome: { $case: "duplicate", value: {} } };
    case "failed": {
      const { code, message, retryable, blame } = outcome;
      return {
        n,
        outcome: {
          $case: "failed",
          value: { code, message, retryable, retryAfter: undefined, ...(blame === undefined ? {} : { blame: BLAME[blame] }) },
        },
      };
    }
  }
}
