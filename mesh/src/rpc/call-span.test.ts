/** Spans of calls as a collector gets them, over both transports that leave the thread's stack: in process, and gRPC on real sockets. */
import { EventServiceDefinition, ImportServiceDefinition, PipelineServiceDefinition } from "@onedata/contracts";
import { toTenantId } from "@onedata/core";
import { openTelemetry, type Telemetry } from "@onedata/telemetry";
import { type OtlpReceiver, openOtlpReceiver } from "@onedata/telemetry/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createInprocDirectory } from "../transport/inproc/inproc.ts";
import { type Listening, listen, openTransport } from "../transport/open-transport.ts";
import { createFixtureHost, FIXTURE_SECRET } from "../transport/transport-fixture.ts";
import { type ClientOptions, createClient } from "./client.ts";
import type { Transport } from "./transport.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SAMPLED = `00-${TRACE}-b7ad6b7169203331-01`;
const identity = { tenantId: toTenantId(7n), principal: "ana", scopes: ["pipelines:read", "events:read", "events:write"] };

describe.each(["inproc:served", "127.0.0.1:0"])("spans of calls (%s)", (where) => {
  let receiver: OtlpReceiver;
  let telemetry: Telemetry;
  let listening: Listening;
  let transport: Transport;
  let client: ClientOptions;
  beforeEach(async () => {
    receiver = await openOtlpReceiver();
    telemetry = await openTelemetry({ version: "1", endpoint: receiver.url, sampleRatio: 1 });
    const directory = createInprocDirectory();
    listening = await listen(createFixtureHost(telemetry.tracing("control")?.tracer), where, { directory });
    transport = await openTransport(listening.address, { directory });
    client = { caller: "gateway", meshSecret: FIXTURE_SECRET, tracer: telemetry.tracing("gateway")?.tracer };
  });
  afterEach(async () => {
    await transport[Symbol.asyncDispose]();
    await listening[Symbol.asyncDispose]();
    await receiver[Symbol.asyncDispose]();
  });
  const received = async () => {
    await telemetry[Symbol.asyncDispose]();
    return { client: receiver.spans.find(({ kind }) => kind === "client"), server: receiver.spans.find(({ kind }) => kind === "server") };
  };

  it("hands the trace on from the caller's span to the implementation", async () => {
    const pipelines = createClient(PipelineServiceDefinition, transport, client);
    const { description } = await pipelines.getPipeline({ pipeline: "whoami" }, { identity, traceparent: SAMPLED });
    const { client: sent, server } = await received();
    const method = "onedata.pipeline.v1.PipelineService/GetPipeline";
    expect(sent).toMatchObject({
      traceId: TRACE,
      parentSpanId: "b7ad6b7169203331",
      name: method,
      service: "onedata-gateway",
      attributes: { "rpc.system.name": "grpc", "rpc.method": method, "rpc.response.status_code": "OK", "server.address": transport.address },
    });
    expect(server).toMatchObject({ traceId: TRACE, parentSpanId: sent?.spanId, name: method, service: "onedata-control", status: "unset" });
    expect(JSON.parse(description).traceparent).toBe(`00-${TRACE}-${server?.spanId}-01`);
  });

  it("tells a failure by its code, never by its message", async () => {
    const pipelines = createClient(PipelineServiceDefinition, transport, client);
    await expect(pipelines.getPipeline({ pipeline: "leaks" }, { identity, traceparent: SAMPLED })).rejects.toThrow();
    const { client: sent, server } = await received();
    const failed = { status: "error", statusMessage: "", attributes: { "error.type": "internal", "rpc.response.status_code": "INTERNAL" } };
    expect([sent, server]).toMatchObject([failed, failed]);
    expect(Buffer.concat(receiver.bodies).includes("hunter2")).toBe(false);
  });

  it("has one span for a stream, in either direction", async () => {
    const events = createClient(EventServiceDefinition, transport, client);
    for await (const event of events.tailEvents({ pipeline: "count-5" }, { identity, traceparent: SAMPLED })) if (event.id === "2") break;
    const imports = createClient(ImportServiceDefinition, transport, client);
    const chunks = async function* () {
      yield { chunk: Buffer.from("a") };
    };
    await imports.uploadImport(chunks(), { identity, traceparent: SAMPLED });
    await telemetry[Symbol.asyncDispose]();
    const names = receiver.spans.filter(({ kind }) => kind === "client").map(({ name }) => name.split("/")[1]);
    expect(new Set(names)).toEqual(new Set(["TailEvents", "UploadImport"]));
    expect(names).toHaveLength(2);
  });

  it.each([undefined, `00-${TRACE}-b7ad6b7169203331-00`])("has none in a trace that nobody keeps (%s), and hands that on", async (traceparent) => {
    const pipelines = createClient(PipelineServiceDefinition, transport, client);
    const call = traceparent === undefined ? { identity } : { identity, traceparent };
    const { description } = await pipelines.getPipeline({ pipeline: "whoami" }, call);
    expect(JSON.parse(description).traceparent).toBe(traceparent);
    await telemetry[Symbol.asyncDispose]();
    expect(receiver.requests).toBe(0);
  });
});
