import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { messageFromJsonText, messageOf, readContract, validateMessage } from "@onedata/contracts";
import { createConfig, lintFromString } from "@redocly/openapi-core";
import openapiTS, { astToString } from "openapi-typescript";
import { describe, expect, it } from "vitest";
import { routesOf } from "../rest/routes.ts";
import { createOpenApi, openApiText } from "./create-open-api.ts";
import { EXAMPLES } from "./examples.ts";

const document = createOpenApi(readContract());
const text = openApiText(document);
const operation = (path: string, method: string): Record<string, unknown> => ({ ...document.paths[path]?.[method] });

describe("the OpenAPI document", () => {
  it("is the one that is checked in", () => {
    const golden = readFileSync(fileURLToPath(new URL("../../openapi.json", import.meta.url)), "utf8");
    expect(golden === text, "run `npm run gen` and review the diff of gateway/openapi.json").toBe(true);
  });

  it("passes a strict linter without a word", async () => {
    // Off: health and this document itself cannot fail by the caller's fault. The other routes are held to their 4xx below.
    const config = await createConfig({ extends: ["recommended-strict"], rules: { "operation-4xx-response": "off" } });
    const problems = await lintFromString({ source: text, absoluteRef: "openapi.json", config });
    expect(problems.map(({ ruleId, message, location }) => `${ruleId}: ${message} at ${location[0]?.pointer ?? ""}`)).toEqual([]);
  });

  it("has every route of the contract, with its scopes", () => {
    for (const { path, method, rpc } of routesOf(readContract())) {
      expect(operation(path, method.toLowerCase())["security"], `${method} ${path}`).toEqual([{ oauth2: rpc.policy.scopes }]);
      expect(operation(path, method.toLowerCase())["responses"], `${method} ${path}`).toMatchObject({ 400: {}, 401: {}, 403: {} });
    }
    expect(Object.keys(document.paths)).toEqual(expect.arrayContaining(["/oauth2/token", "/healthz", "/readyz", "/v1/pipelines/{pipeline}/imports"]));
  });

  it("carries rules, comments and what the path leaves to the body", () => {
    const { schemas } = document.components;
    expect(schemas["ActivateVersionRequest"]).toEqual({
      type: "object",
      description: "Which.",
      required: ["version"],
      properties: { version: { description: "Number, from 1.", type: "integer", minimum: 1, maximum: 4_294_967_295 } },
      additionalProperties: false,
    });
    expect(operation("/v1/pipelines", "get")["parameters"]).toEqual(
      expect.arrayContaining([expect.objectContaining({ name: "pageSize", in: "query", schema: expect.objectContaining({ maximum: 1000 }) })]),
    );
    expect(operation("/v1/pipelines/{pipeline}", "put")).toMatchObject({
      requestBody: { required: true, content: { "application/yaml": { schema: { $ref: "#/components/schemas/PipelineSpec" } } } },
      parameters: expect.arrayContaining([
        expect.objectContaining({ name: "If-Match", in: "header" }),
        expect.objectContaining({ name: "dryRun", in: "query" }),
      ]),
      responses: { 412: { $ref: "#/components/responses/PreconditionFailed" }, 415: {}, 422: {} },
    });
    expect(operation("/v1/imports/{import}/rejects", "get")).toMatchObject({ responses: { 200: { content: { "application/x-ndjson": {} } } } });
  });

  it("has examples that the contract reads", () => {
    const byName = new Map(readContract().methods.map((method) => [method.fullName, method]));
    for (const [name, { request, response }] of Object.entries(EXAMPLES)) {
      const rpc = byName.get(name);
      if (rpc === undefined) throw new Error(`no method ${name}`);
      if (response !== undefined) messageFromJsonText(rpc.output, JSON.stringify(response));
      const raw = rpc.policy.rawBody;
      if (request === undefined || (raw !== undefined && raw.schema === "")) continue;
      if (raw === undefined) {
        const message = messageFromJsonText(rpc.input, JSON.stringify(request));
        const inPath = rpc.http.flatMap(({ path }) => [...path.matchAll(/\{([^}]+)\}/g)].map(([, variable]) => `/${variable}`));
        expect(validateMessage(rpc.input, message).filter(({ pointer }) => !inPath.includes(pointer))).toEqual([]);
      } else for (const value of Object.values(request)) messageFromJsonText(messageOf(raw.schema), JSON.stringify(value));
    }
  });

  it("gives a client that compiles, and refuses wrong calls", async () => {
    const folder = mkdtempSync(join(tmpdir(), "onedata-openapi-"));
    try {
      writeFileSync(join(folder, "api.ts"), astToString(await openapiTS(text)));
      writeFileSync(join(folder, "use.ts"), USE);
      const tsc = fileURLToPath(new URL("../../../node_modules/typescript/bin/tsc", import.meta.url));
      const flags = [
        "--ignoreConfig",
        "--noEmit",
        "--strict",
        "--exactOptionalPropertyTypes",
        "--target",
        "es2022",
        "--module",
        "nodenext",
        "--skipLibCheck",
        "--allowImportingTsExtensions",
      ];
      const output = run(process.execPath, [tsc, ...flags, join(folder, "use.ts")]);
      expect(output).toBe("");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

function run(program: string, args: string[]): string {
  try {
    return execFileSync(program, args, { encoding: "utf8" });
  } catch (error) {
    return error instanceof Error && "stdout" in error ? String(error.stdout) : String(error);
  }
}

const USE = `
import type { components, paths } from "./api.ts";

type Put = paths["/v1/pipelines/{pipeline}"]["put"];
export const spec: Put["requestBody"]["content"]["application/json"] = { name: "orders", steps: [{ id: "clean", use: "record.map", with: { set: { total: "price * quantity" } } }] };
export const query: Put["parameters"]["query"] = { dryRun: true };
export const applied = (answer: Put["responses"][200]["content"]["application/json"]): number => answer.version;
export const problem = (body: Put["responses"]["default"]["content"]["application/problem+json"]): string => body.errors?.[0]?.pointer ?? body.code;
export const line: paths["/v1/pipelines/{pipeline}/events:tail"]["get"]["responses"][200]["content"]["application/x-ndjson"]["id"] = "evt_1";
export const captured = (answer: paths["/v1/pipelines/{pipeline}/events"]["post"]["responses"][202]["content"]["application/json"]): string => answer.id;
export const activate: components["schemas"]["ActivateVersionRequest"] = { version: 2 };
// @ts-expect-error the version is required
export const wrong: components["schemas"]["ActivateVersionRequest"] = {};
// @ts-expect-error unknown parameter
export const unknown: Put["parameters"]["query"] = { dryrun: true };
// @ts-expect-error unknown code
export const code: components["schemas"]["Problem"]["code"] = "pipeline.nothing";
`;
