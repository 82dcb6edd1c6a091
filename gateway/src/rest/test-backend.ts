/**
 * For tests: some real services (in memory, two tenants) on a service host, behind the gateway's faces on a real socket.
 * A bearer token is `<tenant>:<scope>,<scope>`; who signs tokens is not what these tests are about.
 */

import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import {
  type ApplyPipelineRequest,
  EventServiceDefinition,
  LabServiceDefinition,
  type Lookup,
  LookupServiceDefinition,
  type Pipeline,
  PipelineServiceDefinition,
} from "@onedata/contracts";
import { OneDataError, type TenantId, toTenantId } from "@onedata/core";
import {
  bySharedSecret,
  type CallContext,
  type ClientOptions,
  createInprocDirectory,
  createInprocTransport,
  createServiceHost,
  type Transport,
} from "@onedata/mesh";
import { demandScopes } from "../auth/authenticator.ts";
import type { Principal } from "../auth/principal.ts";
import { sendProblem } from "../http/problem.ts";
import type { Caller, Facade, Log } from "../http/seam.ts";

const SECRET = "a secret for the tests only";
export const PAYLOAD = '{"a":1.10,"b":12345678901234567890,"c":"\\u0000"}';

export type Seen = { readonly method: string; readonly tenant: TenantId; readonly context: CallContext; readonly request: unknown };

export type Backend = {
  readonly transportOf: (service: string) => Transport | undefined;
  readonly client: ClientOptions;
  readonly seen: Seen[];
  /** Resolves when a tail was told that its caller went away. */
  readonly tailAborted: Promise<void>;
  /** How many events `TailEvents` of the pipeline "endless" has produced. */
  readonly produced: () => number;
};

export function createBackend(): Backend {
  const pipelines = new Map<string, Pipeline>();
  const documents = new Map<string, string>();
  const lookups = new Map<string, Lookup & { content: string }>();
  const seen: Seen[] = [];
  let produced = 0;
  let abort = (): void => {};
  const tailAborted = new Promise<void>((resolve) => {
    abort = resolve;
  });
  const note = (method: string, request: unknown, context: CallContext): void =>
    void seen.push({ method, tenant: context.tenantId, context, request });
  const find = (context: CallContext, name: string): Pipeline => {
    const pipeline = pipelines.get(`${context.tenantId}/${name}`);
    if (pipeline === undefined) throw new OneDataError("pipeline.not_found", `no pipeline ${JSON.stringify(name)}`);
    return pipeline;
  };
  const unused = async (): Promise<never> => {
    throw new Error("a cause that nobody outside may read");
  };

  const host = createServiceHost({ authenticate: bySharedSecret(SECRET) })
    .add(PipelineServiceDefinition, {
      async applyPipeline(request: ApplyPipelineRequest, context) {
        note("ApplyPipeline", request, context);
        const key = `${context.tenantId}/${request.pipeline}`;
        const before = pipelines.get(key);
        if (request.ifMatch !== "" && request.ifMatch !== before?.etag)
          throw new OneDataError("request.precondition_failed", `the pipeline has etag ${before?.etag ?? "none"}`);
        if (request.document.includes("nonsense")) {
          throw new OneDataError("pipeline.invalid", "the spec has 2 problems", {
            violations: [
              { pointer: "/steps/0/use", code: "operation.not_found", detail: "no operation record.nonsense" },
              { pointer: "/sinks/0", code: "config.invalid", detail: "table is missing" },
            ],
          });
        }
        const version = (before?.activeVersion ?? 0) + 1;
        const pipeline: Pipeline = {
          name: request.pipeline,
          state: "running",
          reason: "",
          activeVersion: version,
          ordering: "",
          etag: `v${version}`,
          description: "",
          sinks: [],
          createdAt: new Date(0),
          updatedAt: new Date(1000),
        };
        pipelines.set(key, pipeline);
        documents.set(key, request.document);
        return {
          pipeline,
          version,
          created: true,
          diff: [{ op: "replace", pointer: "/steps/0/with/n", before: "1.10", after: "12345678901234567890" }],
          tests: [],
          warnings: [],
          dryRun: request.dryRun,
        };
      },
      getPipeline: async (request, context) => find(context, request.pipeline),
      async listPipelines(request, context) {
        note("ListPipelines", request, context);
        const own = [...pipelines].filter(([key]) => key.startsWith(`${context.tenantId}/`)).map(([, pipeline]) => pipeline);
        const from = Number(request.pageToken || 0);
        const size = request.pageSize || 50;
        return { pipelines: own.slice(from, from + size), nextPageToken: from + size < own.length ? String(from + size) : "" };
      },
      deletePipeline: async (request, context) => ({ ...find(context, request.pipeline), state: "deleting" }),
      listVersions: unused,
      getVersion: async (request, context) => ({
        version: request.version,
        hash: "",
        active: true,
        createdBy: context.principal,
        spec: documents.get(`${context.tenantId}/${request.pipeline}`) ?? "",
      }),
      activateVersion: async (request, context) => ({ ...find(context, request.pipeline), activeVersion: request.version }),
      async pausePipeline(request, context) {
        note("PausePipeline", request, context);
        return { ...find(context, request.pipeline), state: "paused", reason: request.reason };
      },
      resumePipeline: async (request, context) => find(context, request.pipeline),
      discardBacklog: async () => ({ events: 0 }),
      getStats: unused,
    })
    .add(EventServiceDefinition, {
      getEvent: async (request, context) => ({
        id: request.event,
        pipeline: "orders",
        state: "done",
        verdict: "delivered",
        payload: PAYLOAD,
        traceId: context.traceparent ?? "",
      }),
      replayEvent: unused,
      listEvents: async () => ({ events: [], nextPageToken: "" }),
      listOutputs: async () => ({ outputs: [{ event: "evt_1", k: 0, record: PAYLOAD }], nextPageToken: "later" }),
      async *tailEvents(request, context) {
        if (request.pipeline === "gone") throw new OneDataError("pipeline.not_found", "no pipeline gone");
        context.signal.addEventListener("abort", abort);
        if (request.pipeline === "silent") await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
        const wanted = request.pipeline === "endless" ? 200_000 : 3;
        for (let i = 0; i < wanted; i++) {
          produced = i + 1;
          yield { id: `evt_${i}`, payload: '{\n "big": 12345678901234567890 }', verdict: "x".repeat(request.pipeline === "endless" ? 4096 : 1) };
          if (i === 1 && request.pipeline === "broken") throw new OneDataError("store.unavailable", "the database went away");
        }
        if (request.pipeline === "quiet") await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
      },
    })
    .add(LookupServiceDefinition, {
      async putLookup(request, context) {
        note("PutLookup", request, context);
        const lookup = {
          name: request.lookup,
          rows: 1,
          columns: [request.mediaType],
          hash: "",
          updatedAt: undefined,
          content: new TextDecoder().decode(request.content),
        };
        lookups.set(request.lookup, lookup);
        return lookup;
      },
      getLookup: async (request) => lookups.get(request.lookup) ?? {},
      listLookups: unused,
      deleteLookup: async () => ({}),
    });

  host.add(LabServiceDefinition, {
    testPipeline: unused,
    async previewPipeline(request, context) {
      note("PreviewPipeline", request, context);
      return {
        records: request.records.map((input) => ({
          input,
          verdict: "delivered",
          steps: [{ step: "a", outputs: [input], outcome: "outputs" }],
          outputs: [],
        })),
      };
    },
  });
  const directory = createInprocDirectory();
  directory.serve("control", host);
  const transport = createInprocTransport("control", directory);
  const served = new Set(
    [PipelineServiceDefinition.fullName, EventServiceDefinition.fullName, LookupServiceDefinition.fullName, LabServiceDefinition.fullName].map(
      String,
    ),
  );
  return {
    transportOf: (service) => (served.has(service) ? transport : undefined),
    client: { caller: "gateway", meshSecret: SECRET },
    seen,
    tailAborted,
    produced: () => produced,
  };
}

export type Gateway = AsyncDisposable & { readonly url: string; readonly logged: unknown[] };

/** Faces one after another until one has answered. */
export async function openGateway(faces: readonly Facade[]): Promise<Gateway> {
  const logged: unknown[] = [];
  const log: Log = { info: () => {}, warn: () => {}, error: (message, fields) => void logged.push({ message, fields }) };
  const server = createServer((request, response) => {
    const answer = async (): Promise<void> => {
      for (const face of faces) if (await face(request, response, callerOf(request))) return;
      throw new OneDataError("route.not_found", "no face has this route");
    };
    answer().catch((error: unknown) => sendProblem(response, error, log));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A TCP server's address is always an object.
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    logged,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export const token = (tenant: number, ...scopes: string[]): string => `Bearer ${tenant}:${scopes.join(",")}`;

function callerOf(request: IncomingMessage): Caller {
  const [, tenant, scopes] = /^Bearer (\d+):(.*)$/.exec(request.headers.authorization ?? "") ?? [];
  const principal: Principal | undefined =
    tenant === undefined
      ? undefined
      : { tenantId: toTenantId(BigInt(tenant)), principalId: BigInt(tenant), name: `Zoë of ${tenant}`, scopes: new Set((scopes ?? "").split(",")) };
  return {
    principal,
    demand(wanted) {
      if (principal === undefined) throw new OneDataError("auth.unauthenticated", "The access token is missing");
      return demandScopes(principal, wanted);
    },
  };
}
