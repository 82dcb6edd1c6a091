/**
 * `http.post`: batches of records as POST requests. At least once, with stable keys: a receiver that keeps `Idempotency-Key` or the records' keys makes it once.
 *
 * 2xx = written. 400, 413, 422 = something in the batch: it is parted by halves until the bad record stands alone. 500 = a record of the batch or the receiver:
 * the engine finds out, which knows what may overtake what. Everything else is a fault of the receiver. After either, the rest of the group is not sent, because
 * order within a group is kept.
 */
import { createHash } from "node:crypto";
import { type JsonObject, OneDataError, type Violation } from "@onedata/core";
import { createConfigReader } from "../config-reader.ts";
import {
  type CheckInput,
  type ConnectionConfig,
  refused,
  type Sink,
  type SinkGroup,
  type SinkRecord,
  type SinkWriter,
  unavailable,
  WRITE_BUDGET_MS,
  WRITTEN,
  type WriteContext,
  type WriteOutcomes,
} from "../sink.ts";
import { describeUrl, type HttpClient } from "./client.ts";
import { headerProblem, parseHttpUrl, RESERVED_HEADERS, readHttpConnection } from "./connection.ts";
import { createRedactor } from "./redact.ts";

type HttpSinkConfig = {
  readonly url: URL;
  readonly format: "array" | "ndjson" | "object";
  readonly keyed: boolean;
  readonly batchSize: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly secretHeaders: Readonly<Record<string, string>>;
  readonly keyHeader: string;
  readonly timeoutMs: number;
};

const configSchema: JsonObject = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  additionalProperties: false,
  properties: {
    connection: { type: "string", minLength: 1, description: "name of a connection of kind http; url is then a path below its baseUrl" },
    url: { type: "string", minLength: 1, description: "https://host/path, or with a connection a path" },
    format: {
      enum: ["array", "ndjson", "object"],
      default: "array",
      description: "a JSON array, one JSON value per line, or one record per request",
    },
    keyed: { type: "boolean", default: false, description: 'wrap each record: {"key": its stable key, "value": the record}' },
    batchSize: { type: "integer", minimum: 1, maximum: 500, default: 100 },
    headers: { type: "object", additionalProperties: { type: "string" }, description: "no secrets here: they belong into the connection" },
    keyHeader: {
      type: "string",
      default: "Idempotency-Key",
      description: "carries the hash of the batch's record keys, or with format object the record's key",
    },
    timeoutMs: { type: "integer", minimum: 100, maximum: 25000, default: 10000 },
  },
  anyOf: [{ required: ["connection"] }, { required: ["url"] }],
};

export function createHttpPost(client: HttpClient): Sink {
  return {
    description: {
      name: "http.post",
      title: "POST to an HTTP endpoint",
      doc: "Sends results in batches. At least once: after a lost answer a batch comes again, with the same `Idempotency-Key` if it is cut the same way, and always with the same record keys (`keyed`). 2xx means written; 400, 413 and 422 find the bad record by halving; so does 500, but a record is only dead when the receiver wrote others after it had failed, and after its `retries`; everything else is the receiver's fault and is retried without end. What a receiver says stands in dead letters without the connection's secrets, also where it echoes them escaped or cut; where it holds one of fewer than 4 characters it is not shown. Private addresses are refused unless the operator allows them.",
      shape: "map",
      effects: "write",
      configSchema,
      // Where the config names one; it works without.
      needsConnection: true,
      examples: [
        { name: "a public endpoint", config: { url: "https://example.com/orders" }, input: { id: 1 }, outputs: [{ id: 1 }] },
        { name: "with keys", config: { connection: "billing", url: "orders", keyed: true }, input: { id: 1 }, outputs: [{ id: 1 }] },
      ],
    },
    connectionKind: "http",
    handledBy: "load",
    writer: createHttpWriter(client),
    check: (input) => checkHttpSink(client, input),
  };
}

export function createHttpWriter(client: HttpClient, { maxParallelGroups = 8, budgetMs = WRITE_BUDGET_MS } = {}): SinkWriter {
  return {
    async write(groups, context) {
      const outcomes: WriteOutcomes = new Map();
      const queue = [...groups];
      const deadlineMs = performance.now() + budgetMs;
      const work = async (): Promise<void> => {
        for (let group = queue.shift(); group !== undefined; group = queue.shift())
          await writeGroup(client, group, { context, outcomes, deadlineMs });
      };
      await Promise.all(Array.from({ length: Math.min(maxParallelGroups, groups.length) }, work));
      return outcomes;
    },
  };
}

async function writeGroup(
  client: HttpClient,
  group: SinkGroup,
  { context, outcomes, deadlineMs }: { context: WriteContext; outcomes: WriteOutcomes; deadlineMs: number },
): Promise<void> {
  let config: HttpSinkConfig;
  try {
    config = readHttpSinkConfig(group.config, group.connection);
  } catch (error) {
    for (const record of group.records) outcomes.set(record.n, refused("config.invalid", OneDataError.from(error).message));
    return;
  }
  const size = config.format === "object" ? 1 : config.batchSize;
  try {
    for (let at = 0; at < group.records.length; at += size)
      await writeBatch(client, config, { records: group.records.slice(at, at + size), context, outcomes, deadlineMs });
  } catch (error) {
    if (error instanceof UnclearAnswer) {
      const blamed = new Set(error.records);
      for (const record of group.records)
        if (!outcomes.has(record.n)) outcomes.set(record.n, unavailable(error.message, blamed.has(record) ? "unclear" : "none"));
      return;
    }
    const known = OneDataError.from(error);
    if (known.code === "aborted") throw known;
    // A refused address may be allowed tomorrow, or the name corrected: nothing is wrong with the records.
    const message = createRedactor(config.secretHeaders).redact(known.message);
    for (const record of group.records) if (!outcomes.has(record.n)) outcomes.set(record.n, unavailable(message));
  }
}

/** The receiver failed on these records, for their sake or for its own. */
class UnclearAnswer extends Error {
  readonly records: readonly SinkRecord[];

  constructor(message: string, records: readonly SinkRecord[]) {
    super(message);
    this.records = records;
  }
}

async function writeBatch(
  client: HttpClient,
  config: HttpSinkConfig,
  { records, context, outcomes, deadlineMs }: { records: readonly SinkRecord[]; context: WriteContext; outcomes: WriteOutcomes; deadlineMs: number },
): Promise<void> {
  const [first] = records;
  if (first === undefined) return;
  const leftMs = deadlineMs - performance.now();
  if (leftMs <= 0) throw new OneDataError("sink.unavailable", `${describeUrl(config.url)} is slower than this call may take: the rest follows`);
  const answer = await client.send({
    method: "POST",
    url: config.url,
    headers: {
      ...config.headers,
      "content-type": config.format === "ndjson" ? "application/x-ndjson" : "application/json",
      accept: "application/json",
      "user-agent": "onedata",
      [config.keyHeader]:
        config.format === "object"
          ? first.key
          : createHash("sha256")
              .update(records.map((record) => record.key).join("\n"))
              .digest("hex"),
    },
    secretHeaders: config.secretHeaders,
    body: toBody(config, records),
    timeoutMs: Math.ceil(Math.min(config.timeoutMs, leftMs)),
    signal: context.signal,
  });
  if (answer.status >= 200 && answer.status < 300) {
    for (const record of records) outcomes.set(record.n, WRITTEN);
    return;
  }
  const said = createRedactor(config.secretHeaders).quote(answer.text, 200);
  const message = `${describeUrl(config.url)} answers ${answer.status}${said === "" ? "" : `: ${said}`}`;
  if (answer.status === 500) throw new UnclearAnswer(message, records);
  if (answer.status !== 400 && answer.status !== 413 && answer.status !== 422) throw new OneDataError("sink.unavailable", message);
  if (records.length === 1) {
    outcomes.set(first.n, refused("sink.rejected", message));
    return;
  }
  const middle = records.length >> 1;
  await writeBatch(client, config, { records: records.slice(0, middle), context, outcomes, deadlineMs });
  await writeBatch(client, config, { records: records.slice(middle), context, outcomes, deadlineMs });
}

function toBody(config: HttpSinkConfig, records: readonly SinkRecord[]): string {
  // The records' own text, so that numbers keep their digits.
  const items = records.map((record) => (config.keyed ? `{"key":${JSON.stringify(record.key)},"value":${record.json}}` : record.json));
  if (config.format === "object") return items[0] ?? "";
  // A line break in JSON text stands between tokens only, where a blank says the same.
  return config.format === "ndjson" ? items.map((item) => `${item.replace(/[\r\n]/g, " ")}\n`).join("") : `[${items.join(",")}]`;
}

/** Throws `config.invalid`. */
function readHttpSinkConfig(config: JsonObject, connection: ConnectionConfig | undefined): HttpSinkConfig {
  const reader = createConfigReader("http.post", config);
  const named = reader.text("connection");
  const path = reader.text("url");
  if (named !== undefined && connection?.kind !== "http")
    throw new OneDataError(
      "config.invalid",
      `http.post needs a connection of kind http, ${named} is ${connection === undefined ? "not given" : `of kind ${connection.kind}`}`,
    );
  const base = connection === undefined || named === undefined ? undefined : readHttpConnection(connection.config);
  if (base === undefined && path === undefined) reader.problem("url", "url is required where there is no connection");
  // A base without a slash at its end would lose its last segment.
  const root = base === undefined ? undefined : new URL(base.baseUrl);
  if (root !== undefined && path !== undefined && !root.pathname.endsWith("/")) root.pathname += "/";
  const url = parseHttpUrl(path?.replace(root === undefined ? /^$/ : /^\/+/, "") ?? "", root);
  if (typeof url === "string" && (path !== undefined || base !== undefined)) reader.problem("url", `url ${url}`);
  else if (root !== undefined && typeof url !== "string" && !(url.origin === root.origin && url.pathname.startsWith(root.pathname)))
    reader.problem("url", `url must stay below the connection's baseUrl ${describeUrl(root)}`);
  const headers = reader.textMap("headers") ?? new Map<string, string>();
  const keyHeader = reader.text("keyHeader") ?? "Idempotency-Key";
  const problem = headerProblem(headers);
  if (problem !== undefined) reader.problem("headers", problem);
  const keyProblem = keyHeaderProblem(keyHeader, [...headers.keys(), ...Object.keys(base?.headers ?? {})]);
  if (keyProblem !== undefined) reader.problem("keyHeader", keyProblem);
  const result = {
    format: reader.choice("format", ["array", "ndjson", "object"], "array"),
    keyed: reader.flag("keyed", false),
    batchSize: reader.integer("batchSize", { min: 1, max: 500, fallback: 100 }),
    timeoutMs: reader.integer("timeoutMs", { min: 100, max: 25_000, fallback: 10_000 }),
  };
  reader.done();
  if (typeof url === "string") throw new OneDataError("config.invalid", `http.post: url ${url}`);
  return { ...result, url, headers: Object.fromEntries(headers), secretHeaders: base?.headers ?? {}, keyHeader };
}

/** `taken`: headers that are sent besides, under which the key would be lost. */
function keyHeaderProblem(keyHeader: string, taken: readonly string[]): string | undefined {
  const name = keyHeader.toLowerCase();
  if (!/^[a-z0-9-]+$/.test(name)) return "keyHeader is not a header name";
  if (name === "idempotency-key") return undefined;
  if (RESERVED_HEADERS.has(name) || name === "accept" || name === "user-agent")
    return `keyHeader is ${keyHeader}, which is set by the sink itself: choose a name of your own, such as X-Request-Key`;
  if (taken.some((other) => other.toLowerCase() === name)) return `keyHeader is ${keyHeader}, which is among the headers too: choose another name`;
  return undefined;
}

async function checkHttpSink(client: HttpClient, { config, connection }: CheckInput): Promise<readonly Violation[]> {
  try {
    await client.checkAddress(readHttpSinkConfig(config, connection).url);
    return [];
  } catch (error) {
    const known = OneDataError.from(error);
    if (known.violations.length > 0) return known.violations;
    return [{ pointer: connection === undefined ? "/url" : "/connection", code: known.code, detail: known.message }];
  }
}
