/** The REST routes of the contract: every http rule of every service that is not internal. Hand-written ones are among them, so that 405 and hints know of them. */

import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { type Contract, type HttpRule, type MethodContract, messageOf } from "@onedata/contracts";
import { fieldNamed } from "./shape-json.ts";

export type Route = {
  /** HTTP method. */
  readonly method: string;
  /** Template, e.g. `/v1/pipelines/{pipeline}:activate`. */
  readonly path: string;
  readonly rule: HttpRule;
  readonly rpc: MethodContract;
};

/** Filled from headers and so never from the query: If-Match and Idempotency-Key. */
export const HEADER_FIELDS = { ifMatch: "if_match", idempotencyKey: "idempotency_key" } as const;

export function routesOf(contract: Contract): Route[] {
  return contract.services
    .filter((service) => !service.internal)
    .flatMap((service) => service.methods)
    .flatMap((rpc) => rpc.http.map((rule) => ({ method: rule.verb, path: rule.path, rule, rpc })))
    .map(checkRoute);
}

/** A nested variable would replace what the body says beside it. */
function checkRoute(route: Route): Route {
  if (route.rule.body !== "" && /\{[^}]*\.[^}]*\}/.test(route.path))
    throw new Error(`${route.rpc.fullName}: a route with a body takes no nested path variable`);
  return route;
}

/** Fields that a route takes from the query: all that neither path, body nor headers fill. */
export function queryFieldsOf(route: Route, pathVariables: readonly string[]): DescField[] {
  const { rule, rpc } = route;
  if (rule.body === "*") return [];
  const raw = rpc.policy.rawBody;
  const elsewhere = new Set<string>([
    ...pathVariables.map(firstName),
    rule.body,
    HEADER_FIELDS.ifMatch,
    HEADER_FIELDS.idempotencyKey,
    raw?.field ?? "",
    raw?.mediaTypeField ?? "",
  ]);
  return rpc.input.fields.filter((field) => !elsewhere.has(field.name));
}

/** The message that the body of a route is JSON of; undefined for none or a document of its own. */
export function bodyMessageOf(route: Route): DescMessage | undefined {
  const { rule, rpc } = route;
  if (rule.body === "" || rpc.policy.rawBody !== undefined) return undefined;
  if (rule.body === "*") return rpc.input;
  const field = fieldNamed(rpc.input, rule.body);
  if (field?.fieldKind !== "message") throw new Error(`${rpc.fullName}: body ${JSON.stringify(rule.body)} is not a message field`);
  return messageOf(field.message.typeName);
}

const firstName = (path: string): string => path.split(".")[0] ?? path;
