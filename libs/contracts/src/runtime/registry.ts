/**
 * What the contract says, read from the image: services, methods, http rules, policies, comments.
 * Duty: one typed view for gateway, tRPC, hosts, OpenAPI and the mesh's manifests. Non-duty: enforcing any of it.
 * Invariants: read once per process (about 30 ms), then immutable; no Node built-in, so that a browser can read it too.
 */
import {
  createFileRegistry,
  type DescMessage,
  type DescMethod,
  type DescService,
  type FileRegistry,
  fromBinary,
  getOption,
  hasOption,
} from "@bufbuild/protobuf";
import { FileDescriptorSetSchema, MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import { comments } from "../gen/comments.gen.ts";
import { http as httpOption } from "../gen/es/google/api/annotations_pb.ts";
import type { HttpRule as HttpRuleMessage } from "../gen/es/google/api/http_pb.ts";
import { type MethodPolicy as MethodPolicyMessage, method as methodOption, service as serviceOption } from "../gen/es/onedata/policy/v1/policy_pb.ts";
import { image } from "../gen/image.gen.ts";
import { once } from "./once.ts";

export type HttpVerb = "GET" | "PUT" | "POST" | "DELETE" | "PATCH";

export type HttpRule = {
  readonly verb: HttpVerb;
  /** e.g. `/v1/pipelines/{pipeline}:activate`. */
  readonly path: string;
  /** Request field that the body fills; "*" = all that the path does not; "" = no body. */
  readonly body: string;
  /** Response field that the body shows; "" = the whole message. */
  readonly responseBody: string;
};

export type RawBody = { readonly field: string; readonly mediaTypeField: string; readonly mediaTypes: readonly string[]; readonly schema: string };

export type MethodPolicy = {
  readonly scopes: readonly string[];
  readonly timeoutMs: number;
  readonly maxRetries: number;
  readonly anonymous: boolean;
  readonly handwritten: boolean;
  /** HTTP status of success. */
  readonly successStatus: number;
  readonly rawBody: RawBody | undefined;
};

export type Idempotency = "unknown" | "no_side_effects" | "idempotent";

export type MethodContract = {
  /** `onedata.pipeline.v1.PipelineService.ApplyPipeline`. */
  readonly fullName: string;
  /** `ApplyPipeline`. */
  readonly name: string;
  /** gRPC path: `/onedata.pipeline.v1.PipelineService/ApplyPipeline`. */
  readonly path: string;
  /** Full name of the service. */
  readonly service: string;
  readonly kind: "unary" | "server_streaming" | "client_streaming" | "bidi_streaming";
  readonly idempotency: Idempotency;
  readonly policy: MethodPolicy;
  /** The first is the one to show; none for methods that REST does not have. */
  readonly http: readonly HttpRule[];
  readonly input: DescMessage;
  readonly output: DescMessage;
  readonly comment: string;
};

export type ServiceContract = {
  /** `onedata.pipeline.v1.PipelineService`. */
  readonly fullName: string;
  readonly name: string;
  /** Workload that serves it. */
  readonly workload: string;
  /** Workloads that may call it. */
  readonly callers: readonly string[];
  /** Not reachable through REST and tRPC. */
  readonly internal: boolean;
  readonly methods: readonly MethodContract[];
  readonly comment: string;
};

export type Contract = {
  readonly services: readonly ServiceContract[];
  /** All methods of all services. */
  readonly methods: readonly MethodContract[];
  /** By gRPC path. */
  readonly methodByPath: ReadonlyMap<string, MethodContract>;
  /** By full name. */
  readonly serviceByName: ReadonlyMap<string, ServiceContract>;
};

/** All descriptors of the image. */
export const readRegistry: () => FileRegistry = once(() => {
  const bytes = Uint8Array.from(atob(image), (character) => character.charCodeAt(0));
  return createFileRegistry(fromBinary(FileDescriptorSetSchema, bytes));
});

export const readContract: () => Contract = once(() => {
  const services = [...readRegistry().files]
    .flatMap((file) => file.services)
    .map(toService)
    .sort((a, b) => (a.fullName < b.fullName ? -1 : 1));
  const methods = services.flatMap((service) => service.methods);
  return {
    services,
    methods,
    methodByPath: new Map(methods.map((method) => [method.path, method])),
    serviceByName: new Map(services.map((service) => [service.fullName, service])),
  };
});

/** Leading comment of a service, method, message, field, enum or enum value by full name; "" if it has none. */
export const commentOf = (fullName: string): string => comments[fullName] ?? "";

/** Throws for a name that the image does not hold: a programming error. */
export function messageOf(typeName: string): DescMessage {
  const message = readRegistry().getMessage(typeName);
  if (message === undefined) throw new Error(`contracts: no message ${JSON.stringify(typeName)}; is the image stale? run \`npm run gen\``);
  return message;
}

function toService(service: DescService): ServiceContract {
  const { workload, callers, internal } = getOption(service, serviceOption);
  return {
    fullName: service.typeName,
    name: service.name,
    workload,
    callers,
    internal,
    methods: service.methods.map(toMethod),
    comment: commentOf(service.typeName),
  };
}

function toMethod(method: DescMethod): MethodContract {
  const fullName = `${method.parent.typeName}.${method.name}`;
  const rule = hasOption(method, httpOption) ? getOption(method, httpOption) : undefined;
  return {
    fullName,
    name: method.name,
    path: `/${method.parent.typeName}/${method.name}`,
    service: method.parent.typeName,
    kind: method.methodKind,
    idempotency: toIdempotency(method.idempotency),
    policy: toPolicy(getOption(method, methodOption)),
    http: rule === undefined ? [] : [rule, ...rule.additionalBindings].map((binding) => toHttp(binding, fullName)),
    input: method.input,
    output: method.output,
    comment: commentOf(fullName),
  };
}

function toIdempotency(level: MethodOptions_IdempotencyLevel): Idempotency {
  if (level === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS) return "no_side_effects";
  return level === MethodOptions_IdempotencyLevel.IDEMPOTENT ? "idempotent" : "unknown";
}

function toPolicy(policy: MethodPolicyMessage): MethodPolicy {
  const { scopes, timeout, maxRetries, anonymous, handwritten, successStatus, rawBody } = policy;
  return {
    scopes,
    timeoutMs: timeout === undefined ? 0 : Number(timeout.seconds) * 1000 + timeout.nanos / 1e6,
    maxRetries,
    anonymous,
    handwritten,
    successStatus: successStatus === 0 ? 200 : successStatus,
    rawBody:
      rawBody === undefined
        ? undefined
        : { field: rawBody.field, mediaTypeField: rawBody.mediaTypeField, mediaTypes: rawBody.mediaTypes, schema: rawBody.schema },
  };
}

function toHttp(rule: HttpRuleMessage, fullName: string): HttpRule {
  const { pattern, body, responseBody } = rule;
  switch (pattern.case) {
    case "get":
    case "put":
    case "post":
    case "delete":
    case "patch":
      return { verb: VERBS[pattern.case], path: pattern.value, body, responseBody };
    case "custom":
    case undefined:
      throw new Error(`contracts: ${fullName} has an http rule without a standard verb`);
  }
}

const VERBS = { get: "GET", put: "PUT", post: "POST", delete: "DELETE", patch: "PATCH" } as const;
