/** Traces as a collector gets them: one from the REST call to the sink, over all the processes of a profile; and what happens when nobody takes them. */
import { type OtlpReceiver, openOtlpReceiver, type ReceivedSpan } from "@onedata/telemetry/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Json } from "../world/api.ts";
import { waitFor } from "../world/wait-for.ts";
import { openWorld, type Profile, type World } from "../world/world.ts";

const ORDERS = "/v1/pipelines/orders/events";
const APPLY = "onedata.transform.v1.TransformService/Apply";
const WRITE = "onedata.load.v1.LoadService/Write";
const traceparent = (traceId: string, flags: string) => ({ traceparent: `00-${traceId}-b7ad6b7169203331-${flags}` });

/** Spans by their place, `service: name`; every span's parent must be among them, but for the first one's. */
function toTree(spans: readonly ReceivedSpan[]): string[] {
  const places = new Map(spans.map((span) => [span.spanId, `${span.service}: ${span.name} (${span.kind})`]));
  return spans.map(({ spanId, parentSpanId }) => `${places.get(parentSpanId) ?? "?"} > ${places.get(spanId)}`).toSorted();
}

const wholeTrace = (receiver: OtlpReceiver, traceId: string, spans: number): Promise<readonly ReceivedSpan[]> =>
  waitFor(
    `a trace of ${spans} spans`,
    () => Promise.resolve(receiver.of(traceId)),
    (found) => found.length >= spans,
  );

describe.each<Profile>(["solo", "cluster"])("traces (%s)", (profile) => {
  let receiver: OtlpReceiver;
  let world: World;
  beforeAll(async () => {
    receiver = await openOtlpReceiver();
    world = await openWorld(profile, { env: { ONEDATA_OTLP: receiver.url, OTEL_TRACES_SAMPLER_ARG: "1" } });
  });
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]();
    await receiver?.[Symbol.asyncDispose]();
  });

  const send = async (body: object, headers: Record<string, string> = {}) => {
    const sent = await world.api.send("POST", ORDERS, body, headers);
    expect(sent.status).toBe(202);
    return await waitFor(
      "done",
      () => world.api.get(`/v1/events/${sent.json.id}`),
      ({ json }) => json?.state === "done",
    );
  };

  it("lead from the REST call to the sink under the trace id that the event shows", async () => {
    const { json: event } = await send({ id: "t1", price: 2, quantity: 3 });
    const spans = await wholeTrace(receiver, event.traceId, 8);
    const request = `onedata-gateway: POST /v1/pipelines/{pipeline}/events (server)`;
    const run = "onedata-engine: run transform>engine,load (internal)";
    expect(toTree(spans)).toEqual(
      [
        `? > ${request}`,
        `${request} > onedata-gateway: commit events (client)`,
        `${request} > onedata-engine: process orders (consumer)`,
        `onedata-engine: process orders (consumer) > ${run}`,
        `${run} > onedata-engine: ${APPLY} (client)`,
        `onedata-engine: ${APPLY} (client) > onedata-transform: ${APPLY} (server)`,
        `${run} > onedata-engine: ${WRITE} (client)`,
        `onedata-engine: ${WRITE} (client) > onedata-load: ${WRITE} (server)`,
      ].toSorted(),
    );
    expect(spans.find(({ kind }) => kind === "consumer")).toMatchObject({
      attributes: {
        "messaging.system": "onedata",
        "messaging.destination.name": "orders",
        "messaging.message.id": event.id,
        "onedata.version": 1,
        "onedata.attempt": 1,
        "onedata.verdict": "delivered",
      },
      events: [
        { name: "apply", attributes: { "onedata.service": "transform", "onedata.operations": "record.map,record.validate,record.pick" } },
        { name: "write", attributes: { "onedata.service": "load" } },
      ],
      status: "unset",
    });
    expect(spans.find(({ name }) => name.startsWith("POST"))?.attributes).toMatchObject({
      "http.request.method": "POST",
      "http.route": "/v1/pipelines/{pipeline}/events",
      "http.response.status_code": 202,
      "url.path": ORDERS,
    });
    expect(spans.every(({ startNanos, endNanos }) => endNanos >= startNanos)).toBe(true);
  });

  it("carry on from the caller's span, and stay away where the caller keeps nothing", async () => {
    const [unkept, kept] = ["1af7651916cd43dd8448eb211c80319c", "2af7651916cd43dd8448eb211c80319c"];
    const first = await send({ id: "t2", price: 1, quantity: 1 }, traceparent(unkept, "00"));
    expect(first.json.traceId).toBe(unkept);
    const second = await send({ id: "t3", price: 1, quantity: 1 }, traceparent(kept, "01"));
    expect(second.json.traceId).toBe(kept);
    const spans = await wholeTrace(receiver, kept, 8);
    expect(spans.find(({ kind, service }) => kind === "server" && service === "onedata-gateway")?.parentSpanId).toBe("b7ad6b7169203331");
    // Each process exports in order: what comes later has come.
    expect(receiver.of(unkept)).toEqual([]);
  });

  it("are each event's own when runs and commits carry many, joined by links", async () => {
    const events = await Promise.all(Array.from({ length: 30 }, (_, i) => send({ id: `m${i}`, price: i, quantity: 1 })));
    const ids = new Set(events.map(({ json }) => json.traceId));
    expect(ids.size).toBe(30);
    const processed = await waitFor(
      "30 process spans",
      () => Promise.resolve(receiver.spans.filter(({ kind, traceId }) => kind === "consumer" && ids.has(traceId))),
      (found) => found.length === 30,
    );
    expect(processed.every(({ attributes, events: calls }) => attributes["onedata.verdict"] === "delivered" && calls.length === 2)).toBe(true);
    const linked = processed.filter(({ links }) => links.length > 0);
    // 30 at once meet in some run: on an idle machine in the first two or three.
    expect(linked.length).toBeGreaterThan(0);
    for (const { links, traceId, parentSpanId } of linked) {
      const run = await waitFor(
        "its run",
        () => Promise.resolve(receiver.spans.find(({ spanId }) => spanId === links[0]?.spanId)),
        (found) => found !== undefined,
      );
      expect(run?.links).toContainEqual({ traceId, spanId: parentSpanId });
      expect(run?.parentSpanId).toBe("");
    }
  });

  it("tell why an event died, and nothing of what was in it", async () => {
    const { json: event } = await send({ id: "secret-marker-5150", price: -5, quantity: 1 });
    expect(event.verdict).toBe("dead");
    const spans = await wholeTrace(receiver, event.traceId, 6);
    expect(spans.find(({ kind }) => kind === "consumer")).toMatchObject({
      status: "error",
      statusMessage: "",
      attributes: { "onedata.verdict": "dead", "onedata.step": "valid", "error.type": "record.invalid" },
      events: [{ name: "apply" }],
    });
    const letters = await world.api.get("/v1/dead-letters?pipeline=orders");
    expect(letters.json.deadLetters.find((letter: Json) => letter.event === event.id)?.traceId).toBe(event.traceId);
    const bytes = Buffer.concat(receiver.bodies);
    expect(bytes.includes("record.invalid")).toBe(true);
    for (const secret of ["secret-marker-5150", world.api.token, "postgres://"]) expect(bytes.includes(secret)).toBe(false);
  });

  it("are one for an import, whatever lines it has", async () => {
    const lines = Array.from({ length: 250 }, (_, i) => JSON.stringify({ id: `i${i}`, price: 1, quantity: 1 })).join("\n");
    const traceId = "3af7651916cd43dd8448eb211c80319c";
    const headers = { "content-type": "application/x-ndjson", ...traceparent(traceId, "01") };
    const sent = await world.api.send("POST", "/v1/pipelines/orders/imports", lines, headers);
    expect(sent.status).toBe(202);
    await waitFor(
      "delivered",
      () => world.api.get(`/v1/imports/${sent.json.id}`),
      ({ json }) => json?.delivered === 250,
    );
    const spans = await wholeTrace(receiver, traceId, 7);
    // One per chunk; a machine that stumbles may cut one.
    const processed = spans.filter(({ kind }) => kind === "consumer").length;
    expect(processed).toBeGreaterThan(0);
    expect(processed).toBeLessThan(5);
    expect(spans.find(({ service, kind }) => service === "onedata-gateway" && kind === "server")).toMatchObject({
      name: "POST /v1/pipelines/{pipeline}/imports",
      attributes: { "http.response.status_code": 202 },
    });
  });

  it("show what a call of the control plane did, by its route", async () => {
    const traceId = "4af7651916cd43dd8448eb211c80319c";
    const answer = await world.api.send("GET", "/v1/pipelines/orders?secret-query=1", undefined, traceparent(traceId, "01"));
    expect(answer.status).toBe(400);
    expect((await world.api.send("GET", "/v1/pipelines/orders", undefined, traceparent(traceId, "01"))).status).toBe(200);
    const spans = await wholeTrace(receiver, traceId, 4);
    const method = "onedata.pipeline.v1.PipelineService/GetPipeline";
    const request = "onedata-gateway: GET /v1/pipelines/{pipeline} (server)";
    expect(toTree(spans)).toEqual(
      [
        `? > ${request}`,
        `? > ${request}`,
        `${request} > onedata-gateway: ${method} (client)`,
        `onedata-gateway: ${method} (client) > onedata-control: ${method} (server)`,
      ].toSorted(),
    );
    expect(Buffer.concat(receiver.bodies).includes("secret-query")).toBe(false);
  });
});

describe("traces that are not wanted", () => {
  it("are not begun with a ratio of 0, but callers' own are carried on", async () => {
    await using receiver = await openOtlpReceiver();
    await using world = await openWorld("solo", { env: { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, ONEDATA_TRACE_RATIO: "0" } });
    const body = (id: string) => ({ id, price: 1, quantity: 1 });
    for (let i = 0; i < 20; i++) expect((await world.api.send("POST", ORDERS, body(`n${i}`), { prefer: "wait=10" })).status).toBe(200);
    const traceId = "5af7651916cd43dd8448eb211c80319c";
    await world.api.send("POST", ORDERS, body("kept"), { prefer: "wait=10", ...traceparent(traceId, "01") });
    await wholeTrace(receiver, traceId, 8);
    expect(receiver.spans.filter((span) => span.traceId !== traceId)).toEqual([]);
  });

  it("cost nobody an answer when their receiver is away, and the loss is said", async () => {
    await using world = await openWorld("solo", { env: { ONEDATA_OTLP: "http://127.0.0.1:9", ONEDATA_TRACE_RATIO: "1" } });
    for (let i = 0; i < 20; i++) {
      const sent = await world.api.send("POST", ORDERS, { id: `a${i}`, price: 1, quantity: 1 }, { prefer: "wait=10" });
      expect(sent.json).toMatchObject({ state: "done", verdict: "delivered" });
    }
    const said = await waitFor(
      "said",
      () => Promise.resolve(world.output()),
      (output) => output.includes("spans were dropped"),
      30_000,
    );
    expect(said).toMatch(/"exported":0,"dropped":[1-9]/);
    await world.stop();
  });
});
