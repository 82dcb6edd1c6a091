/**
 * `/docs`, `/docs/errors` and `/openapi.json`. Nothing is fetched from anywhere else: the viewer is swagger-ui-dist from node_modules.
 * Open to everybody: the document says what there is, never what is in it.
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import type { Contract } from "@onedata/contracts";
import { OneDataError } from "@onedata/core";
import type { Facade } from "../http/seam.ts";
import { createOpenApi, openApiText } from "../openapi/create-open-api.ts";
import { matches } from "../rest/send-message.ts";
import { apiPage, errorsPage, SCRIPT, STYLE } from "./pages.ts";

type Resource = { readonly type: string; readonly maxAgeSeconds: number; readonly load: () => Promise<Buffer> | Buffer };
type Loaded = { readonly body: Buffer; readonly zipped: Buffer; readonly etag: string };

/** No inline script and no inline style: Swagger UI sets its styles through the object model, which the policy does not concern. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const compress = promisify(gzip);

export function createDocsFacade(contract: Contract): Facade {
  const resources: Readonly<Record<string, Resource>> = {
    "/openapi.json": { type: "application/json", maxAgeSeconds: 0, load: () => Buffer.from(openApiText(createOpenApi(contract))) },
    "/docs": html(apiPage),
    "/docs/": html(apiPage),
    "/docs/errors": html(errorsPage),
    "/docs/assets/docs.js": text("text/javascript", SCRIPT),
    "/docs/assets/docs.css": text("text/css", STYLE),
    "/docs/assets/swagger-ui-bundle.js": vendored("text/javascript", "swagger-ui-bundle.js"),
    "/docs/assets/swagger-ui.css": vendored("text/css", "swagger-ui.css"),
    "/docs/assets/favicon-32x32.png": vendored("image/png", "favicon-32x32.png"),
  };
  const loaded = new Map<string, Promise<Loaded>>();

  return async (request, response) => {
    const path = (request.url ?? "/").split("?", 1)[0] ?? "/";
    const resource = Object.hasOwn(resources, path) ? resources[path] : undefined;
    if (resource === undefined) return false;
    if (request.method !== "GET" && request.method !== "HEAD") {
      response.setHeader("allow", "GET, HEAD");
      throw new OneDataError("route.method_not_allowed", `${path} does not take ${request.method}: it takes GET, HEAD`);
    }
    let pending = loaded.get(path);
    if (pending === undefined) loaded.set(path, (pending = prepare(resource)));
    send(request, response, resource, await pending);
    return true;
  };
}

function send(request: IncomingMessage, response: ServerResponse, { type, maxAgeSeconds }: Resource, { body, zipped, etag }: Loaded): void {
  const zip = /\bgzip\b/.test(request.headers["accept-encoding"]?.toString() ?? "");
  const headers = {
    etag: `"${etag}"`,
    vary: "accept-encoding",
    "cache-control": maxAgeSeconds === 0 ? "no-cache" : `public, max-age=${maxAgeSeconds}`,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    ...(type === "text/html" ? { "content-security-policy": POLICY } : {}),
  };
  if (matches(request.headers["if-none-match"], etag)) {
    response.writeHead(304, headers).end();
    return;
  }
  const content = zip ? zipped : body;
  response.writeHead(200, {
    ...headers,
    "content-type": type.startsWith("text/") ? `${type}; charset=utf-8` : type,
    "content-length": content.length,
    ...(zip ? { "content-encoding": "gzip" } : {}),
  });
  response.end(content);
}

async function prepare({ load }: Resource): Promise<Loaded> {
  const body = await load();
  return { body, zipped: await compress(body), etag: createHash("sha256").update(body).digest("base64url").slice(0, 22) };
}

const html = (make: () => string): Resource => ({ type: "text/html", maxAgeSeconds: 0, load: () => Buffer.from(make()) });
const text = (type: string, content: string): Resource => ({ type, maxAgeSeconds: 0, load: () => Buffer.from(content) });

function vendored(type: string, file: string): Resource {
  const require = createRequire(import.meta.url);
  return { type, maxAgeSeconds: 3600, load: () => readFile(join(dirname(require.resolve("swagger-ui-dist/package.json")), file)) };
}
