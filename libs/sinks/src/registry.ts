/**
 * Every sink there is: the one list. Adding one = a folder and a line here.
 *
 * Invariant of `write`: exactly one outcome per record, whatever a writer does; if every record failed because its sink is certainly away, the call as a whole throws `sink.unavailable`.
 */
import { OneDataError, type OperationDescription, type Violation } from "@onedata/core";
import { fileCsv } from "./file-csv/file-csv.ts";
import { fileNdjson } from "./file-ndjson/file-ndjson.ts";
import { createHttpClient, type HttpClientOptions } from "./http-post/client.ts";
import { createHttpConnectionKind } from "./http-post/connection.ts";
import { createHttpPost } from "./http-post/http-post.ts";
import { onedataOutputs } from "./onedata-outputs/onedata-outputs.ts";
import { createPostgresConnectionKind } from "./postgres/connection-kind.ts";
import { createPools, type PoolsOptions } from "./postgres/pools.ts";
import { createPostgresWriter } from "./postgres/writer.ts";
import { createPostgresInsert } from "./postgres-insert/postgres-insert.ts";
import { createPostgresUpsert } from "./postgres-upsert/postgres-upsert.ts";
import {
  type CheckInput,
  type ConnectionConfig,
  type ConnectionKind,
  type Sink,
  type SinkGroup,
  type SinkWriter,
  unavailable,
  type WriteContext,
  type WriteOutcomes,
} from "./sink.ts";

export type SinksOptions = { readonly postgres?: PoolsOptions; readonly http?: HttpClientOptions };

export interface Sinks extends AsyncDisposable {
  readonly list: readonly Sink[];
  readonly connectionKinds: readonly ConnectionKind[];
  describe(): readonly OperationDescription[];
  write(groups: readonly SinkGroup[], context: WriteContext): Promise<WriteOutcomes>;
  check(kind: string, input: CheckInput): Promise<readonly Violation[]>;
  /** Empty text if it works. */
  checkConnection(connection: ConnectionConfig, tenant: string, signal: AbortSignal): Promise<string>;
}

export function createSinks(options: SinksOptions = {}): Sinks {
  const pools = createPools(options.postgres);
  const postgres = { pools, writer: createPostgresWriter(pools) };
  const http = createHttpClient(options.http);
  const list: readonly Sink[] = [
    onedataOutputs,
    createPostgresInsert(postgres),
    createPostgresUpsert(postgres),
    fileNdjson,
    fileCsv,
    createHttpPost(http),
  ];
  const connectionKinds: readonly ConnectionKind[] = [createPostgresConnectionKind(pools), createHttpConnectionKind(http)];
  const find = (kind: string): Sink | undefined => list.find((sink) => sink.description.name === kind);
  const known = list.map((sink) => sink.description.name).join(", ");

  return {
    list,
    connectionKinds,
    describe: () => list.map((sink) => sink.description),
    async write(groups, context) {
      const byWriter = new Map<SinkWriter, SinkGroup[]>();
      const outcomes: WriteOutcomes = new Map();
      for (const group of groups) {
        const sink = find(group.kind);
        if (sink?.handledBy !== "load") {
          const why =
            sink === undefined
              ? `unknown sink ${JSON.stringify(group.kind)}; known: ${known}`
              : `${group.kind} is written by the engine, not by a load service`;
          for (const record of group.records) outcomes.set(record.n, unavailable(why));
          continue;
        }
        const own = byWriter.get(sink.writer);
        if (own === undefined) byWriter.set(sink.writer, [group]);
        else own.push(group);
      }
      const results = await Promise.allSettled([...byWriter].map(([writer, own]) => writer.write(own, context)));
      for (const result of results) {
        if (result.status === "rejected") throw OneDataError.from(result.reason);
        for (const [n, outcome] of result.value) outcomes.set(n, outcome);
      }
      return complete(groups, outcomes);
    },
    check(kind, input) {
      const sink = find(kind);
      if (sink === undefined)
        return Promise.resolve([{ pointer: "", code: "operation.not_found", detail: `unknown sink ${JSON.stringify(kind)}; known: ${known}` }]);
      return sink.check(input);
    },
    checkConnection(connection, tenant, signal) {
      const kind = connectionKinds.find((candidate) => candidate.kind === connection.kind);
      return kind === undefined
        ? Promise.resolve(`unknown kind of connection ${JSON.stringify(connection.kind)}; known: ${connectionKinds.map((k) => k.kind).join(", ")}`)
        : kind.check(connection, tenant, signal);
    },
    async [Symbol.asyncDispose]() {
      http.close();
      await pools[Symbol.asyncDispose]();
    },
  };
}

function complete(groups: readonly SinkGroup[], outcomes: WriteOutcomes): WriteOutcomes {
  const exact: WriteOutcomes = new Map();
  let available = groups.every((group) => group.records.length === 0);
  let message = "";
  for (const group of groups) {
    for (const record of group.records) {
      const outcome = outcomes.get(record.n) ?? unavailable(`${group.kind} gave no answer for record ${record.n}`);
      exact.set(record.n, outcome);
      if (outcome.kind === "failed" && outcome.code === "sink.unavailable" && outcome.blame === undefined) message ||= outcome.message;
      else available = true;
    }
  }
  if (!available) throw new OneDataError("sink.unavailable", message);
  return exact;
}
