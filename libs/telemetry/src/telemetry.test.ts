/** The export as a collector sees it: a real receiver over HTTP that decodes the protobuf. */
import { SpanKind, SpanStatusCode, type Tracer } from "@opentelemetry/api";
import { describe, expect, it } from "vitest";
import type { Telemetry, TelemetryFigures, TelemetryOptions } from "./port.ts";
import { MAX_LINKS, startSharedSpan } from "./shared-span.ts";
import { openTelemetry } from "./telemetry.ts";
import { openOtlpReceiver } from "./testing.ts";
import { contextOf, formatTraceparent, fromTrace, isSampledTrace, parseTraceparent } from "./trace-context.ts";

const open = (endpoint: string | undefined, options: Partial<TelemetryOptions> = {}): Promise<Telemetry> =>
  openTelemetry({ version: "1.2.3", sampleRatio: 1, endpoint, ...options });

function tracerOf(telemetry: Telemetry, service = "gateway"): Tracer {
  const tracing = telemetry.tracing(service);
  if (tracing === undefined) throw new Error("telemetry is off");
  return tracing.tracer;
}

const NEVER_MS = 3_600_000;
const sampled = parseTraceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");

describe("openTelemetry", () => {
  it("has no tracer without an endpoint", async () => {
    await using telemetry = await open(undefined);
    expect(telemetry.tracing("gateway")).toBeUndefined();
  });

  it("exports spans with their resource, parent, attributes, events, links and status, and the last of them when it ends", async () => {
    await using receiver = await openOtlpReceiver();
    const telemetry = await open(receiver.url, { limits: { delayMs: NEVER_MS } });
    const attributes = { text: "a", whole: 7, part: 0.5, yes: true, list: ["x", "y"] };
    const parent = tracerOf(telemetry).startSpan("parent", { kind: SpanKind.SERVER, attributes }, contextOf(sampled));
    const child = tracerOf(telemetry, "engine").startSpan(
      "child",
      { links: sampled === undefined ? [] : [{ context: sampled }] },
      contextOf(parent.spanContext()),
    );
    child.addEvent("apply", { n: 1 });
    child.setStatus({ code: SpanStatusCode.ERROR });
    child.end();
    parent.end();
    await telemetry[Symbol.asyncDispose]();
    const received = Object.fromEntries(receiver.spans.map((span) => [span.name, span]));
    expect(received["parent"]).toMatchObject({
      traceId: "0af7651916cd43dd8448eb211c80319c",
      parentSpanId: "b7ad6b7169203331",
      kind: "server",
      attributes,
      status: "unset",
      resource: { "service.name": "onedata-gateway", "service.namespace": "onedata", "service.version": "1.2.3" },
    });
    expect(received["child"]).toMatchObject({
      parentSpanId: received["parent"]?.spanId,
      service: "onedata-engine",
      events: [{ name: "apply", attributes: { n: 1 } }],
      links: [{ traceId: sampled?.traceId, spanId: sampled?.spanId }],
      status: "error",
    });
    expect(telemetry.figures).toEqual({ exported: 2, dropped: 0 });
  });

  it("records nothing for a trace that its caller does not keep", async () => {
    await using receiver = await openOtlpReceiver();
    const telemetry = await open(receiver.url);
    const unsampled = parseTraceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
    tracerOf(telemetry).startSpan("unsampled", {}, contextOf(unsampled)).end();
    await telemetry[Symbol.asyncDispose]();
    expect(receiver.requests).toBe(0);
  });

  it("keeps a share of the traces that begin here", async () => {
    const telemetry = await open("http://127.0.0.1:9", { sampleRatio: 0.25 });
    const tracing = telemetry.tracing("gateway");
    const kept = Array.from({ length: 20_000 }, () => tracing?.samples() === true).filter(Boolean).length;
    // 16 standard deviations.
    expect(Math.abs(kept - 5_000)).toBeLessThan(1_000);
    await telemetry[Symbol.asyncDispose]();
  });

  it("sends a full batch at once and the rest after the delay", async () => {
    await using receiver = await openOtlpReceiver();
    await using telemetry = await open(receiver.url, { limits: { maxBatch: 10, delayMs: NEVER_MS } });
    for (let i = 0; i < 25; i++) tracerOf(telemetry).startSpan(`span ${i}`).end();
    await expect.poll(() => receiver.spans.length).toBe(20);
    await telemetry[Symbol.asyncDispose]();
    expect(receiver.spans).toHaveLength(25);
  });

  it("drops what its queue has no room for, counts it and says so once", async () => {
    await using receiver = await openOtlpReceiver();
    const said: TelemetryFigures[] = [];
    const telemetry = await open(receiver.url, {
      onDropped: (figures) => said.push(figures),
      limits: { maxQueue: 10, maxBatch: 100, delayMs: NEVER_MS },
    });
    for (let i = 0; i < 15; i++) tracerOf(telemetry).startSpan(`span ${i}`).end();
    expect(telemetry.figures).toEqual({ exported: 0, dropped: 5 });
    expect(said).toEqual([{ exported: 0, dropped: 1 }]);
    await telemetry[Symbol.asyncDispose]();
    expect(telemetry.figures).toEqual({ exported: 10, dropped: 5 });
  });

  it("counts what a receiver refuses, and ends in its time when there is none", async () => {
    await using receiver = await openOtlpReceiver();
    receiver.answer(400);
    const refused = await open(receiver.url);
    tracerOf(refused).startSpan("refused").end();
    await refused[Symbol.asyncDispose]();
    expect(refused.figures).toEqual({ exported: 0, dropped: 1 });

    const gone = await open("http://127.0.0.1:9", { limits: { timeoutMs: 300 } });
    tracerOf(gone).startSpan("lost").end();
    await gone[Symbol.asyncDispose]();
    expect(gone.figures).toMatchObject({ exported: 0 });
    await expect.poll(() => gone.figures.dropped).toBe(1);
  });
});

describe("startSharedSpan", () => {
  it("is a child of the one trace that it serves, and links to several from a trace of its own", async () => {
    await using receiver = await openOtlpReceiver();
    const telemetry = await open(receiver.url);
    const tracer = tracerOf(telemetry);
    const contexts = Array.from({ length: 100 }, () => tracer.startSpan("request").spanContext());
    const how = { kind: SpanKind.INTERNAL, attributes: {} };
    startSharedSpan(tracer, "one", contexts.slice(0, 1), how).end();
    startSharedSpan(tracer, "many", contexts, how).end();
    await telemetry[Symbol.asyncDispose]();
    expect(receiver.spans.find(({ name }) => name === "one")).toMatchObject({ parentSpanId: contexts[0]?.spanId, traceId: contexts[0]?.traceId });
    const many = receiver.spans.find(({ name }) => name === "many");
    expect(many).toMatchObject({ parentSpanId: "", attributes: { "onedata.traces": 100 } });
    expect(contexts.map(({ traceId }) => traceId)).not.toContain(many?.traceId);
    expect(many?.links).toEqual(contexts.slice(0, MAX_LINKS).map(({ traceId, spanId }) => ({ traceId, spanId })));
  });
});

describe("trace contexts", () => {
  it.each([
    undefined,
    "",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
    "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "00-00000000000000000000000000000000-b7ad6b7169203331-01",
    "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
    "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
  ])("takes %s for none", (text) => expect(parseTraceparent(text)).toBeUndefined());

  it("reads what it writes, and what an event keeps", () => {
    const text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const context = parseTraceparent(text);
    if (context === undefined) throw new Error("not parsed");
    expect(formatTraceparent(context)).toBe(text);
    const bytes = Buffer.from(text.slice(3).replaceAll("-", ""), "hex");
    expect(fromTrace(bytes)).toEqual(context);
    expect(isSampledTrace(bytes)).toBe(true);
    bytes[24] = 0;
    expect([isSampledTrace(bytes), isSampledTrace(undefined), isSampledTrace(bytes.subarray(1))]).toEqual([false, false, false]);
    // A later version may say more.
    expect(parseTraceparent(`01${text.slice(2)}-more`)).toEqual(context);
  });
});
