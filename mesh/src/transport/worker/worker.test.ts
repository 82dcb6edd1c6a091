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

/** A worker's start is not what these tests are about, and may take longer than a call. */
const answers = (client: { apply(request: object): Promise<unknown> }): Promise<void> =>
  expect.poll(() => codeOf(client.apply({})), { timeout: 60_000 }).toBe("ok");

describe("createWorkerTransport", () => {
  it("starts the worker again after it died", async () => {
    await using transport = createWorkerTransport({ name: "mortal", module, data: "mortal" });
    const client = createClient(TransformServiceDefinition, transport, options);
    await answers(client);
    expect(await codeOf(client.apply({ runId: "die" }))).toBe("service.lost");
    await answers(client);
  });

  it("keeps this thread free while the worker is busy, and holds the deadline", async () => {
    await using transport = createWorkerTransport({ name: "mortal", module, data: "mortal" });
    const client = createClient(TransformServiceDefinition, transport, options);
    await answers(client);
    const busy = codeOf(client.apply({ runId: "busy" }, { timeoutMs: 50 }));
    // The worker takes calls in turn: this one is answered when it is no longer busy.
    const next = codeOf(client.apply({}));
    expect(await Promise.race([busy, next])).toBe("request.timeout");
    expect(await next).toBe("ok");
  });

  it("ends a worker whose heap is full, not the process", async () => {
    await using transport = createWorkerTransport({ name: "mortal", module, data: "mortal", maxHeapMb: 64 });
    const client = createClient(TransformServiceDefinition, transport, options);
    await answers(client);
    expect(await codeOf(client.apply({ runId: "greedy" }))).toBe("service.lost");
    await answers(client);
  });
});
