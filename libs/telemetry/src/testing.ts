/**
 * A receiver of OTLP over HTTP for tests: a real server that decodes what a collector would get (opentelemetry/proto/trace/v1/trace.proto) and keeps it.
 * Non-duty: being a collector; it stores nothing and samples nothing.
 */
import { once } from "node:events";
import { createServer } from "node:http";
import { gunzipSync } from "node:zlib";
import { type Fields, messagesAt, numberAt, readFields, textAt } from "./protobuf-reader.ts";

export type AttributeValue = string | number | boolean | readonly AttributeValue[];
export type Attributes = Readonly<Record<string, AttributeValue>>;

export type ReceivedSpan = {
  readonly traceId: string;
  readonly spanId: string;
  /** Empty for a root. */
  readonly parentSpanId: string;
  readonly name: string;
  readonly kind: "internal" | "server" | "client" | "producer" | "consumer";
  readonly startNanos: bigint;
  readonly endNanos: bigint;
  readonly attributes: Attributes;
  readonly events: readonly { readonly name: string; readonly attributes: Attributes }[];
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
  readonly status: "unset" | "ok" | "error";
  readonly statusMessage: string;
  /** `service.name` of its resource. */
  readonly service: string;
  readonly resource: Attributes;
};

export interface OtlpReceiver extends AsyncDisposable {
  /** For `endpoint`. */
  readonly url: string;
  readonly spans: readonly ReceivedSpan[];
  readonly requests: number;
  /** All bytes that came, unzipped: to look for what must not be in them. */
  readonly bodies: readonly Buffer[];
  of(traceId: string): readonly ReceivedSpan[];
  /** What the next requests are answered with. */
  answer(status: number): void;
}

export async function openOtlpReceiver(): Promise<OtlpReceiver> {
  const spans: ReceivedSpan[] = [];
  const bodies: Buffer[] = [];
  let requests = 0;
  let status = 200;
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      requests += 1;
      const isRight = request.method === "POST" && request.url === "/v1/traces" && request.headers["content-type"] === "application/x-protobuf";
      const answered = isRight ? status : 404;
      if (answered === 200) {
        const raw = Buffer.concat(chunks);
        const body = request.headers["content-encoding"] === "gzip" ? gunzipSync(raw) : raw;
        bodies.push(body);
        spans.push(...readSpans(body));
      }
      response.writeHead(answered, { "content-type": "application/x-protobuf", "content-length": 0 }).end();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return {
    url: `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`,
    spans,
    bodies,
    get requests() {
      return requests;
    },
    of: (traceId) => spans.filter((span) => span.traceId === traceId),
    answer(next) {
      status = next;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

/** ExportTraceServiceRequest → ResourceSpans → ScopeSpans → Span. */
function readSpans(body: Buffer): ReceivedSpan[] {
  return messagesAt(readFields(body), 1).flatMap((bytes) => {
    const resourceSpans = readFields(bytes);
    const [resourceBytes = Buffer.alloc(0)] = messagesAt(resourceSpans, 1);
    const resource = readAttributes(readFields(resourceBytes), 1);
    return messagesAt(resourceSpans, 2).flatMap((scope) => messagesAt(readFields(scope), 2).map((span) => readSpan(readFields(span), resource)));
  });
}

const KINDS = ["internal", "internal", "server", "client", "producer", "consumer"] as const;
const STATUSES = ["unset", "ok", "error"] as const;

function readSpan(span: Fields, resource: Attributes): ReceivedSpan {
  const status = readFields(messagesAt(span, 15).at(-1) ?? Buffer.alloc(0));
  return {
    traceId: textAt(span, 1, "hex"),
    spanId: textAt(span, 2, "hex"),
    parentSpanId: textAt(span, 4, "hex"),
    name: textAt(span, 5),
    kind: KINDS[Number(numberAt(span, 6))] ?? "internal",
    startNanos: numberAt(span, 7),
    endNanos: numberAt(span, 8),
    attributes: readAttributes(span, 9),
    events: messagesAt(span, 11).map((bytes) => {
      const event = readFields(bytes);
      return { name: textAt(event, 2), attributes: readAttributes(event, 3) };
    }),
    links: messagesAt(span, 13).map((bytes) => {
      const link = readFields(bytes);
      return { traceId: textAt(link, 1, "hex"), spanId: textAt(link, 2, "hex") };
    }),
    status: STATUSES[Number(numberAt(status, 3))] ?? "unset",
    statusMessage: textAt(status, 2),
    service: String(resource["service.name"]),
    resource,
  };
}

function readAttributes(fields: Fields, field: number): Attributes {
  return Object.fromEntries(
    messagesAt(fields, field).map((bytes) => {
      const pair = readFields(bytes);
      return [textAt(pair, 1), readValue(readFields(messagesAt(pair, 2)[0] ?? Buffer.alloc(0)))];
    }),
  );
}

function readValue(value: Fields): AttributeValue {
  if (value.has(1)) return textAt(value, 1);
  if (value.has(2)) return numberAt(value, 2) === 1n;
  if (value.has(3)) return Number(BigInt.asIntN(64, numberAt(value, 3)));
  if (value.has(4)) {
    const bits = Buffer.alloc(8);
    bits.writeBigUInt64LE(numberAt(value, 4));
    return bits.readDoubleLE();
  }
  if (value.has(5)) return messagesAt(readFields(messagesAt(value, 5)[0] ?? Buffer.alloc(0)), 1).map((bytes) => readValue(readFields(bytes)));
  return "";
}
