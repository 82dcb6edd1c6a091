/** What the facade answers, held against the document that describes it. */
import { readContract } from "@onedata/contracts";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createRestFacade } from "../rest/facade.ts";
import { createBackend, type Gateway, openGateway, token } from "../rest/test-backend.ts";
import { createOpenApi } from "./create-open-api.ts";

const document = createOpenApi(readContract());
const ajv = new Ajv2020({ strict: false, allErrors: true });
addFormats.default(ajv);
ajv.addSchema({ ...document, $id: "api" });

let gateway: Gateway;
beforeAll(async () => {
  gateway = await openGateway([createRestFacade({ contract: readContract(), ...createBackend() })]);
});
afterAll(async () => gateway[Symbol.asyncDispose]());

const AUTH = token(1, "pipelines:read", "pipelines:write", "events:read", "lookups:read", "lookups:write");
const YAML = { "content-type": "application/yaml" };
const JSON_TYPE = { "content-type": "application/json" };

type Call = readonly [method: string, template: string, path: string, status: number, headers?: Record<string, string>, body?: string];

const calls: readonly Call[] = [
  ["PUT", "/v1/pipelines/{pipeline}", "/v1/pipelines/orders", 200, YAML, "name: orders"],
  ["PUT", "/v1/pipelines/{pipeline}", "/v1/pipelines/orders", 422, YAML, "nonsense"],
  ["PUT", "/v1/pipelines/{pipeline}", "/v1/pipelines/orders", 412, { ...YAML, "if-match": '"old"' }, "name: orders"],
  ["PUT", "/v1/pipelines/{pipeline}", "/v1/pipelines/orders", 415, { "content-type": "text/plain" }, "name: orders"],
  ["GET", "/v1/pipelines", "/v1/pipelines", 200],
  ["GET", "/v1/pipelines", "/v1/pipelines?pageSize=x", 400],
  ["GET", "/v1/pipelines", "/v1/pipelines", 401, { authorization: "" }],
  ["GET", "/v1/pipelines", "/v1/pipelines", 403, { authorization: token(1, "events:read") }],
  ["GET", "/v1/pipelines/{pipeline}", "/v1/pipelines/orders", 200],
  ["GET", "/v1/pipelines/{pipeline}", "/v1/pipelines/other", 404],
  ["POST", "/v1/pipelines/{pipeline}:activate", "/v1/pipelines/orders:activate", 200, JSON_TYPE, '{"version":1}'],
  ["POST", "/v1/pipelines/{pipeline}:pause", "/v1/pipelines/orders:pause", 200],
  ["POST", "/v1/pipelines/{pipeline}:preview", "/v1/pipelines/orders:preview", 200, JSON_TYPE, '{"records":[{"a":1}]}'],
  ["GET", "/v1/pipelines/{pipeline}/stats", "/v1/pipelines/orders/stats", 500],
  ["GET", "/v1/pipelines/{pipeline}/outputs", "/v1/pipelines/orders/outputs", 200],
  ["GET", "/v1/pipelines/{pipeline}/events:tail", "/v1/pipelines/orders/events:tail", 200],
  ["GET", "/v1/events/{event}", "/v1/events/evt_1", 200],
  ["PUT", "/v1/lookups/{lookup}", "/v1/lookups/countries", 200, { "content-type": "text/csv" }, "a\n1\n"],
  ["DELETE", "/v1/lookups/{lookup}", "/v1/lookups/countries", 200],
  ["GET", "/v1/operations", "/v1/operations", 503],
];

for (const [method, template, path, status, headers = {}, body] of calls) {
  it(`${method} ${path} answers ${status} as described`, async () => {
    const response = await fetch(gateway.url + path, {
      method,
      headers: { authorization: AUTH, ...headers },
      ...(body === undefined ? {} : { body }),
    });
    const text = await response.text();
    expect([response.status, text]).toEqual([status, expect.any(String)]);
    const type = response.headers.get("content-type") ?? "";
    const lines = type === "application/x-ndjson" ? text.trimEnd().split("\n") : [text];
    const validate = ajv.compile({ $ref: `api#${pointerOf(template, method.toLowerCase(), status, type)}` });
    for (const line of lines) expect([validate(JSON.parse(line)), validate.errors]).toEqual([true, null]);
  });
}

function pointerOf(template: string, method: string, status: number, mediaType: string): string {
  const escape = (name: string): string => encodeURIComponent(name.replaceAll("~", "~0").replaceAll("/", "~1"));
  const responses = new Map(Object.entries(Object(document.paths[template]?.[method]?.["responses"])));
  const response: unknown = responses.get(String(status)) ?? responses.get("default");
  const reference: unknown = Object(response)["$ref"];
  const base = typeof reference === "string" ? reference.slice(1) : `/paths/${escape(template)}/${method}/responses/${status}`;
  return `${base}/content/${escape(mediaType)}/schema`;
}
