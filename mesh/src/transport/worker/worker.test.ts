import { TransformServiceDefinition } from "@onedata/contracts";
import { OneDataError } from "@onedata/core";
import { describe, expect, it } from "vitest";
import { createClient } from "../../rpc/client.ts";
import { FIXTURE_SECRET } from "../transport-fixture.ts";
import { createWorkerTransport } from "./client.ts";

const module = new URL("./fixture-worker.ts", import.meta.url);
const options = { caller: "engine", meshSecret: FIXTURE_SECRET };
const codeOf = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => "ok",
    (error: unknown) => OneDataError.from(error).code,
  );

describe("createWorkerTransport", () => {
  it("starts the worker again after it died", async () => {
    await using transport = createWorkerTransport({ name: "mortal", module, data: "mortal" });
    const client = createClient(TransformServiceDefinition, transport, options);
    expect(await codeOf(client.apply({ runId: "die" }))).toBe("service.lost");
    expect(await codeOf(client.apply({ runId: "echo" }))).toBe("ok");
  });

  it("keeps this thread free while the worker is busy, and holds the deadline", async () => {
    await using transport = createWorkerTransport({ name: "mortal", module, data: "mortal" });
    const client = createClient(TransformServiceDefinition, transport, options);
    await client.apply({});
    const startedAtMs = performance.now();
    expect(await codeOf(client.apply({ runId: "busy" }, { timeoutMs: 50 }))).toBe("request.timeout");
    expect(performance.now() - startedAtMs).toBeLessThan(400);
  });

  it("ends a worker whose heap is full, not the process", async () => {
    await using transport = createWorkerTransport({ name: "mortal", module, data: "mortal", maxHeapMb: 64 });
    const client = createClient(TransformServiceDefinition, transport, options);
    await client.apply({});
    expect(await codeOf(client.apply({ runId: "greedy" }))).toBe("service.lost");
    expect(await codeOf(client.apply({ runId: "echo" }))).toBe("ok");
  });
});
