/**
 * The OpenAPI 3.1 document, from the contract: comments, rules, scopes, problems, raw bodies, streams.
 * Pure: the same contract gives the same document. Checked in as `gateway/openapi.json`, so that a change of the API is a reviewed diff.
 */
import { type Contract, messageOf, type ServiceContract } from "@onedata/contracts";
import { parsePathTemplate, variablesOf } from "../rest/path-template.ts";
import { bodyMessageOf, queryFieldsOf, type Route, routesOf } from "../rest/routes.ts";
import type { OpenApiDocument, Schema } from "./document.ts";
import { OTHER_PATHS } from "./handwritten.ts";
import { operationOf } from "./operations.ts";
import { PROBLEM_RESPONSES, PROBLEM_SCHEMAS } from "./problems.ts";
import { createSchemas, reachable } from "./schemas.ts";

const DESCRIPTION = `OneData takes in events, runs your pipelines over them, and loads the results. Pipelines are data: applied, tested, versioned and rolled back here.

- **Errors** are problem details (RFC 9457) with a stable \`code\`; [the catalogue](/docs/errors) says what each means. \`errors[]\` points into your document.
- **Numbers** in payloads and outputs are shown digit for digit; read them with a parser that keeps them if they are larger than a double.
- **Lists** answer \`nextPageToken\` and \`Link: rel="next"\`; pass \`pageToken\` for the next page.
- **Reads** answer an \`ETag\`; send it as \`If-None-Match\` and get 304 while nothing has changed.
- **Unknown** fields and query parameters are refused, never ignored.`;

export function createOpenApi(contract: Contract): OpenApiDocument {
  const routes = routesOf(contract);
  const services = contract.services.filter((service) => routes.some(({ rpc }) => rpc.service === service.fullName));
  const outputs = reachable(routes.map(({ rpc }) => rpc.output));
  const whole = reachable(routes.filter(({ rpc }) => !rpc.policy.handwritten).map(({ rpc }) => rpc.output));
  const sparse = new Set([...outputs].filter((message) => !whole.has(message)));
  const schemas = createSchemas({ inputs: inputsOf(routes), outputs, sparse }, Object.keys(PROBLEM_SCHEMAS));

  const paths: Record<string, Record<string, Schema>> = {};
  const ids = new Set<string>();
  for (const route of routes) {
    const service = services.find(({ fullName }) => fullName === route.rpc.service);
    const operation = operationOf(route, schemas, tagOf(service?.name ?? ""));
    const id = String(operation["operationId"]);
    if (ids.has(id)) throw new Error(`openapi: two operations are called ${id}`);
    ids.add(id);
    (paths[route.path] ??= {})[route.method.toLowerCase()] = operation;
  }

  return {
    openapi: "3.1.0",
    info: {
      title: "OneData",
      version: "1",
      summary: "Dynamic ETL: pipelines as data.",
      description: DESCRIPTION,
      license: { name: "Apache 2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "/", description: "This installation." }],
    tags: [...services.map(tag), { name: "Installation", description: "Tokens, health, and this document." }],
    security: [{ oauth2: [] }],
    paths: { ...sorted(paths), ...OTHER_PATHS },
    components: {
      schemas: sorted({ ...PROBLEM_SCHEMAS, ...schemas.components() }),
      responses: PROBLEM_RESPONSES,
      securitySchemes: {
        oauth2: {
          type: "oauth2",
          description: "Client credentials of an OAuth2 client of your tenant.",
          flows: { clientCredentials: { tokenUrl: "/oauth2/token", scopes: scopesOf(routes) } },
        },
      },
    },
  };
}

/** What ends in the file and at `/openapi.json`. */
export const openApiText = (document: OpenApiDocument): string => `${JSON.stringify(document, null, 2)}\n`;

/** Messages that a request body or a query may hold. */
function inputsOf(routes: readonly Route[]): ReturnType<typeof reachable> {
  return reachable(
    routes.flatMap((route) => {
      const body = bodyMessageOf(route);
      const document = route.rpc.policy.rawBody?.schema ?? "";
      const query = queryFieldsOf(route, variablesOf(parsePathTemplate(route.path))).flatMap((field) =>
        field.message === undefined ? [] : [field.message],
      );
      return [...(body === undefined ? [] : [body]), ...(document === "" ? [] : [messageOf(document)]), ...query];
    }),
  );
}

const tagOf = (service: string): string => service.replace(/Service$/, "").replace(/(?<=[a-z])(?=[A-Z])/g, " ");

const tag = (service: ServiceContract): Schema => ({
  name: tagOf(service.name),
  ...(service.comment === "" ? {} : { description: service.comment }),
});

function scopesOf(routes: readonly Route[]): Readonly<Record<string, string>> {
  const scopes = [...new Set(routes.flatMap(({ rpc }) => rpc.policy.scopes))].sort();
  return Object.fromEntries(scopes.map((scope) => [scope, describeScope(scope)]));
}

function describeScope(scope: string): string {
  const [thing = "", verb] = scope.split(":");
  if (verb === undefined) return scope === "admin" ? "Operate the installation" : scope;
  return scope === "events:write" ? "Send events" : `${verb === "read" ? "Read" : "Change"} ${thing}`;
}

const sorted = <T>(record: Readonly<Record<string, T>>): Record<string, T> =>
  Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
