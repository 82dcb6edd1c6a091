/**
 * What every transport must do, as one suite. An adapter's test gives it a way to serve the `fixture` host and to reach it.
 * The fixture lives in a module of its own, so that a worker can serve the same.
 */
import {
  EventServiceDefinition,
  ImportServiceDefinition,
  LoadServiceDefinition,
  PipelineServiceDefinition,
  TransformServiceDefinition,
} from "@onedata/contracts";
import { OneDataError, toTenantId } from "@onedata/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ClientOptions, createClient } from "../rpc/client.ts";
import type { Identity } from "../rpc/metadata.ts";
import type { Transport } from "../rpc/transport.ts";
import { FIXTURE_SECRET } from "./transport-fixture.ts";

export interface ServedFixture extends AsyncDisposable {
  readonly transport: Transport;
  /** Ends the server with calls in flight, as a crash would. */
  kill(): Promise<void>;
  /** A transport to where nobody serves. */
  readonly nowhere: Transport;
}

const identity: Identity = { tenantId: toTenantId(7n), principal: "Åsa & søn", scopes: ["pipelines:read", "events:read", "events:write"] };
const engine: ClientOptions = { caller: "engine", meshSecret: FIXTURE_SECRET };
const gateway: ClientOptions = { caller: "gateway", meshSecret: FIXTURE_SECRET };

export function transportConformance(name: string, serve: () => Promise<ServedFixture>): void {
  describe(`transport ${name}`, () => {
    let served: ServedFixture;
    beforeAll(async () => {
      served = await serve();
    });
    afterAll(async () => {
      await served[Symbol.asyncDispose]();
    });

    const transform = (options = engine) => createClient(TransformServiceDefinition, served.transport, options);
    const pipelines = (options = gateway) => createClient(PipelineServiceDefinition, served.transport, options);
    const fails = async (call: Promise<unknown>): Promise<OneDataError> => {
      const error = await call.then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(error).toBeInstanceOf(OneDataError);
      return OneDataError.from(error);
    };

    it("answers a unary call", async () => {
      const records = [{ n: 1, json: new TextEncoder().encode('{"a":1}'), timeUnixNanos: 9007199254740993n }];
      const response = await transform().apply({ runId: "echo", groups: [{ pipeline: "p", records }] });
      expect(response.results).toEqual([{ n: 1, outcome: { $case: "outputs", value: { json: [expect.anything()] } } }]);
      const output = response.results[0]?.outcome;
      expect(output?.$case === "outputs" ? new TextDecoder().decode(output.value.json[0]) : undefined).toBe('{"a":1} at 9007199254740993');
    });

    it("carries an empty request and an empty answer", async () => {
      expect(await transform().apply({})).toEqual({ results: [] });
    });

    it("hands tenant, principal, scopes, caller and trace to the implementation", async () => {
      const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
      const pipeline = await pipelines().getPipeline({ pipeline: "whoami" }, { identity, traceparent });
      expect(JSON.parse(pipeline.description)).toEqual({
        tenant: "7",
        principal: "Åsa & søn",
        scopes: identity.scopes,
        caller: "gateway",
        traceparent,
      });
    });

    it("streams answers in order, as they are asked for", async () => {
      const seen: string[] = [];
      const events = createClient(EventServiceDefinition, served.transport, gateway);
      for await (const event of events.tailEvents({ pipeline: "count-5" }, { identity })) seen.push(event.id);
      expect(seen).toEqual(["0", "1", "2", "3", "4"]);
    });

    it("ends a stream whose reader leaves", async () => {
      const events = createClient(EventServiceDefinition, served.transport, gateway);
      for await (const event of events.tailEvents({ pipeline: "count-1000000" }, { identity })) if (event.id === "2") break;
      await untilOpenStreams(pipelines(), 0);
    });

    it("fails a stream in the middle with its problem", async () => {
      const events = createClient(EventServiceDefinition, served.transport, gateway);
      const seen: string[] = [];
      const error = await fails(
        (async () => {
          for await (const event of events.tailEvents({ pipeline: "break-3" }, { identity })) seen.push(event.id);
        })(),
      );
      expect(error.code).toBe("pipeline.deleting");
      expect(seen).toEqual(["0", "1", "2"]);
    });

    it("takes a stream of requests", async () => {
      const imports = createClient(ImportServiceDefinition, served.transport, gateway);
      const chunks = async function* () {
        for (let i = 0; i < 50; i++) yield { pipeline: "p", chunk: new Uint8Array(1000) };
      };
      expect(await imports.uploadImport(chunks(), { identity })).toMatchObject({ accepted: 50, delivered: 50_000 });
    });

    it("passes on what the source of a request stream throws", async () => {
      const imports = createClient(ImportServiceDefinition, served.transport, gateway);
      const chunks = async function* () {
        yield { pipeline: "p" };
        throw new OneDataError("import.malformed", "line 2 is cut off");
      };
      expect((await fails(imports.uploadImport(chunks(), { identity }))).code).toBe("import.malformed");
    });

    it("ends a call whose deadline has passed", async () => {
      const error = await fails(transform().apply({ runId: "hang" }, { timeoutMs: 60 }));
      expect(error.code).toBe("request.timeout");
    });

    it("ends a stream whose deadline has passed", async () => {
      const events = createClient(EventServiceDefinition, served.transport, gateway);
      const error = await fails(
        (async () => {
          for await (const _ of events.tailEvents({ pipeline: "hang" }, { identity, timeoutMs: 60 }));
        })(),
      );
      expect(error.code).toBe("request.timeout");
      await untilOpenStreams(pipelines(), 0);
    });

    it("ends a call whose caller gives up, on both sides", async () => {
      const controller = new AbortController();
      const call = fails(transform().apply({ runId: "hang" }, { signal: controller.signal }));
      await untilHanging(pipelines(), 1);
      controller.abort();
      expect((await call).code).toBe("aborted");
      await untilHanging(pipelines(), 0);
    });

    it("does not start a call that was given up before", async () => {
      expect((await fails(transform().apply({ runId: "hang" }, { signal: AbortSignal.abort() }))).code).toBe("aborted");
    });

    it("brings a problem back whole", async () => {
      const error = await fails(pipelines().getPipeline({ pipeline: "problem" }, { identity }));
      expect(error).toMatchObject({
        code: "capture.quota_exceeded",
        message: "100 events/s, ærlig",
        retryAfterSeconds: 3,
        violations: [{ pointer: "/a~1b", code: "quota", detail: "less" }],
      });
    });

    it("keeps a problem with very many violations small enough to travel", async () => {
      const error = await fails(pipelines().getPipeline({ pipeline: "many-violations" }, { identity }));
      expect(error.code).toBe("pipeline.invalid");
      expect(error.violations.length).toBeGreaterThan(5);
    });

    it("lets no text of an unknown error out, only the id of its log line", async () => {
      const error = await fails(pipelines().getPipeline({ pipeline: "bug" }, { identity }));
      expect(error.code).toBe("internal");
      expect(error.message).not.toContain("password");
      expect(error).toMatchObject({ instance: expect.stringMatching(/^[0-9a-f-]{36}$/) });
    });

    it("refuses what breaks a rule of the contract, with pointers", async () => {
      const error = await fails(pipelines().getPipeline({ pipeline: "Not A Name" }, { identity }));
      expect(error.code).toBe("request.invalid");
      expect(error.violations).toMatchObject([{ pointer: "/pipeline", code: "string.pattern" }]);
    });

    it("says that a method is not served", async () => {
      expect((await fails(transform().describe({}))).code).toBe("route.not_found");
    });

    it("refuses a request over 4 MiB before it is sent", async () => {
      const records = [{ n: 1, json: new Uint8Array(4 * 1024 * 1024) }];
      expect((await fails(transform().apply({ groups: [{ records }] }))).code).toBe("request.too_large");
    });

    it("carries 3.5 MiB", async () => {
      const records = Array.from({ length: 7 }, (_, n) => ({ n, json: new Uint8Array(512 * 1024).fill(0x20) }));
      expect((await transform().apply({ runId: "echo", groups: [{ records }] })).results).toHaveLength(7);
    });

    it("refuses an answer over 4 MiB", async () => {
      expect((await fails(transform().apply({ runId: "large" }))).code).toBe("request.too_large");
    });

    it("refuses a call without the mesh secret, and one with a wrong one", async () => {
      expect((await fails(transform({ caller: "engine" }).apply({}))).code).toBe("auth.unauthenticated");
      expect((await fails(transform({ caller: "engine", meshSecret: "another-secret-of-16" }).apply({}))).code).toBe("auth.unauthenticated");
    });

    it("refuses a workload that the service does not list", async () => {
      expect((await fails(transform({ caller: "gateway", meshSecret: FIXTURE_SECRET }).apply({}))).code).toBe("auth.caller_denied");
    });

    it("refuses a call without tenant, and one without the scope", async () => {
      expect((await fails(pipelines().getPipeline({ pipeline: "whoami" }))).code).toBe("auth.unauthenticated");
      expect((await fails(pipelines().getPipeline({ pipeline: "whoami" }, { identity: { ...identity, scopes: ["events:read"] } }))).code).toBe(
        "auth.scope_missing",
      );
    });

    it("retries only what the contract allows", async () => {
      // LoadService.Describe allows two retries, GetPipeline none.
      expect((await fails(pipelines().getPipeline({ pipeline: "unavailable" }, { identity }))).code).toBe("service.unavailable");
      expect((await fails(createClient(LoadServiceDefinition, served.transport, engine).describe({}))).code).toBe("service.unavailable");
      expect(JSON.parse((await pipelines().getPipeline({ pipeline: "counts" }, { identity })).description)).toMatchObject({
        unavailable: 1,
        described: 3,
      });
    });

    it("tells a server that was never reached from one lost during the call", async () => {
      const never = createClient(TransformServiceDefinition, served.nowhere, engine);
      expect((await fails(never.apply({}, { timeoutMs: 5_000 }))).code).toBe("service.unavailable");

      await using doomed = await serve();
      const call = fails(createClient(TransformServiceDefinition, doomed.transport, engine).apply({ runId: "hang" }));
      await untilHanging(createClient(PipelineServiceDefinition, doomed.transport, gateway), 1);
      await doomed.kill();
      expect((await call).code).toBe("service.lost");
    });

    it("carries two hundred calls at once", async () => {
      const answers = await Promise.all(
        Array.from({ length: 200 }, (_, n) => transform().apply({ runId: "echo", groups: [{ records: [{ n, json: new Uint8Array([0x31]) }] }] })),
      );
      expect(answers.map(({ results }) => results[0]?.n)).toEqual(Array.from({ length: 200 }, (_, n) => n));
    });

    type Pipelines = ReturnType<typeof pipelines>;
    const untilHanging = (client: Pipelines, count: number) => until(client, "hanging", count);
    const untilOpenStreams = (client: Pipelines, count: number) => until(client, "streams", count);
    const until = async (client: Pipelines, figure: string, count: number): Promise<void> => {
      await expect
        .poll(async () => JSON.parse((await client.getPipeline({ pipeline: "counts" }, { identity })).description)[figure], {
          timeout: 5_000,
          interval: 10,
        })
        .toBe(count);
    };
  });
}
