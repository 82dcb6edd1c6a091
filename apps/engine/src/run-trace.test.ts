/** What a run says of its sampled events, as a collector gets it. The whole way over processes is a scenario. */
import {
  type EventResult,
  type GroupResult,
  OneDataError,
  type Plan,
  ServiceFault,
  toBatchId,
  toLaneId,
  toPipelineId,
  toTenantId,
} from "@onedata/core";
import type { ClaimedBatch, ClaimedRun, LoadedEvent } from "@onedata/store";
import { openTelemetry } from "@onedata/telemetry";
import { openOtlpReceiver, type ReceivedSpan } from "@onedata/telemetry/testing";
import { describe, expect, it } from "vitest";
import { versionKey } from "./plan-cache.ts";
import { toRunGroups } from "./run-groups.ts";
import { type RunTrace, startRunTrace } from "./run-trace.ts";

const batchId = toBatchId(77n);
const batch: ClaimedBatch = {
  batchId,
  seq: 1n,
  laneId: toLaneId(1n),
  laneClass: "live",
  ordered: false,
  tenantId: toTenantId(3n),
  pipelineId: toPipelineId(5n),
  version: 4,
  n: 3,
  bytes: 3,
  attempt: 2,
  failures: 0,
  kind: "capture",
  generation: 0,
  importId: undefined,
  jobId: undefined,
  unchecked: false,
  part: 0,
  blockFailures: 0,
  progress: undefined,
};
const run: ClaimedRun = { runId: "r", owner: "e", route: "record,geo>load", batches: [batch], events: 3, lost: 0, suspect: false };
const step = (id: string, index: number) => ({ id, index, operation: `record.${id}`, config: {}, configHash: id });
const plan: Plan = {
  route: run.route,
  stages: [
    { service: "record", steps: [step("clean", 0), step("valid", 1)], inputs: ["input"] },
    { service: "geo", steps: [step("place", 2)], inputs: [0] },
  ],
  sinks: [{ id: "rows", kind: "postgres.upsert", service: "load", config: {}, configHash: "s", inputs: [1] }],
};
const plans = new Map([[versionKey(batch.pipelineId, batch.version), { pipeline: "orders", plan }]]);
/** Hex digits that stand for a context. */
const context = (digit: string): Buffer => Buffer.from(`${digit.repeat(32)}${digit.repeat(16)}01`, "hex");
const event = (n: number, trace: Buffer | undefined): LoadedEvent => ({ n, payload: "{}", orderingKey: undefined, trace, source: { batchId, n } });
const delivered: EventResult = { kind: "delivered" };

/** Traces a run over three events with these contexts; answers its spans. */
async function traced(
  contexts: readonly (Buffer | undefined)[],
  work: (trace: RunTrace, end: (results: readonly EventResult[], isKept?: boolean) => void) => Promise<void> | void,
): Promise<{ readonly process: readonly ReceivedSpan[]; readonly run: ReceivedSpan | undefined; readonly all: readonly ReceivedSpan[] }> {
  await using receiver = await openOtlpReceiver();
  const telemetry = await openTelemetry({ version: "1", endpoint: receiver.url, sampleRatio: 1 });
  const tracing = telemetry.tracing("engine");
  if (tracing === undefined) throw new Error("no tracer");
  const events = new Map([[batchId, contexts.map((trace, n) => event(n, trace))]]);
  const placed = toRunGroups([batch], events, plans);
  expect(placed).toHaveLength(1);
  {
    using trace = startRunTrace(tracing.tracer, { run, wokenBy: "poll", placed, events });
    if (trace !== undefined) {
      await work(trace, (results, isKept = true) => {
        const groups: GroupResult[] = [{ events: results, outputs: [] }];
        trace.end(groups, new Set(isKept ? [batchId] : []));
      });
    }
  }
  await telemetry[Symbol.asyncDispose]();
  return {
    process: receiver.spans.filter(({ name }) => name === "process orders").sort((a, b) => a.traceId.localeCompare(b.traceId)),
    run: receiver.spans.find(({ name }) => name.startsWith("run ")),
    all: receiver.spans,
  };
}

const calls = async (trace: RunTrace): Promise<void> => {
  const services = trace.watch({
    apply: () => Promise.resolve({ results: [] }),
    write: () => Promise.reject(new OneDataError("service.unavailable", "no route to 10.0.0.7")),
    worksForOthers: () => false,
  });
  const version = { tenant: "3", pipeline: "orders", version: 4 };
  for (const { service, steps } of plan.stages) {
    const wire = steps.map(({ operation }) => ({ operation, configJson: new Uint8Array(), configHash: "", connection: undefined }));
    await services.apply(service, { runId: "r", groups: [{ ...version, steps: wire, records: [] }] });
  }
  const group = { ...version, sink: "postgres.upsert", sinkId: "rows", configJson: new Uint8Array(), configHash: "", connection: undefined };
  await services.write("load", { runId: "r", installation: "i", groups: [{ ...group, records: [], empty: [] }] }).catch(() => undefined);
};

describe("startRunTrace", () => {
  it("makes nothing for a run whose events nobody follows", async () => {
    const { all } = await traced([undefined, undefined], () => {
      throw new Error("there is a trace");
    });
    expect(all).toEqual([]);
  });

  it("has its calls in the trace of the one event that is sampled", async () => {
    let traceparent = "";
    const { process, run: own } = await traced([undefined, context("a"), undefined], (trace, end) => {
      ({ traceparent } = trace);
      end([delivered, delivered, delivered]);
    });
    expect(process).toMatchObject([
      {
        traceId: "a".repeat(32),
        parentSpanId: "a".repeat(16),
        attributes: { "onedata.verdict": "delivered", "onedata.version": 4, "onedata.attempt": 2, "onedata.tenant": "3" },
        links: [],
      },
    ]);
    expect(own).toMatchObject({ traceId: "a".repeat(32), parentSpanId: process[0]?.spanId, attributes: { "messaging.batch.message_count": 3 } });
    expect(traceparent).toBe(`00-${own?.traceId}-${own?.spanId}-01`);
  });

  it("stands apart from several, linked both ways; events of one request count once", async () => {
    const { process, run: own } = await traced([context("a"), context("b"), context("b")], (_, end) => end([delivered, delivered, delivered]));
    expect(own).toMatchObject({ parentSpanId: "", attributes: { "onedata.traces": 2 } });
    expect(own?.links.map(({ traceId }) => traceId)).toEqual(["a".repeat(32), "b".repeat(32)]);
    expect(process.map(({ traceId, links }) => [traceId[0], links])).toEqual(
      ["a", "b", "b"].map((digit) => [digit, [{ traceId: own?.traceId, spanId: own?.spanId }]]),
    );
  });

  it("tells the calls that an event was in, as far as it came, and why it stopped", async () => {
    const cause = { step: "place", sink: "", code: "record.invalid", message: "no such place: Atlantis", json: new TextEncoder().encode("Atlantis") };
    const fault = new ServiceFault("load", new OneDataError("service.unavailable", "no route to 10.0.0.7"));
    const { process, all } = await traced([context("a"), context("b"), context("c")], async (trace, end) => {
      await calls(trace);
      end([
        { kind: "filtered", step: 1 },
        { kind: "dead", causes: [cause] },
        { kind: "pending", sinksDone: [], tries: 0, places: {}, retryAfterMs: 0, retry: undefined, fault, writeBegun: false },
      ]);
    });
    const [filtered, dead, pending] = process;
    const operationsOf = (span: ReceivedSpan | undefined) =>
      span?.events.map(({ attributes }) => attributes["onedata.operations"] ?? attributes["onedata.sink"]);
    expect(operationsOf(filtered)).toEqual(["record.clean,record.valid"]);
    expect(operationsOf(dead)).toEqual(["record.clean,record.valid", "record.place"]);
    expect(operationsOf(pending)).toEqual(["record.clean,record.valid", "record.place", "rows"]);
    expect(pending?.events.at(-1)).toMatchObject({ name: "write", attributes: { "onedata.service": "load", "error.type": "service.unavailable" } });
    expect(filtered).toMatchObject({ attributes: { "onedata.verdict": "filtered", "onedata.step": 1 }, status: "unset" });
    expect(dead).toMatchObject({
      attributes: { "onedata.verdict": "dead", "onedata.step": "place", "error.type": "record.invalid" },
      status: "error",
    });
    expect(pending?.attributes).toMatchObject({ "error.type": "service.unavailable" });
    expect(pending?.attributes["onedata.verdict"]).toBeUndefined();
    const said = JSON.stringify(all, (_, value) => (typeof value === "bigint" ? String(value) : value));
    expect(said).not.toMatch(/Atlantis|10\.0\.0\.7/);
  });

  it("claims no verdict that the fence refused, and ends as failed with a run that fails", async () => {
    const refused = await traced([context("a")], (_, end) => end([delivered], false));
    expect(refused.process[0]?.attributes).toMatchObject({ "onedata.verdict.refused": "delivered" });
    expect(refused.process[0]?.attributes["onedata.verdict"]).toBeUndefined();
    const failed = await traced([context("a"), context("b")], () => undefined);
    expect(failed.all.map(({ status }) => status)).toEqual(["error", "error", "error"]);
  });
});
