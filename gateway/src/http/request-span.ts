/**
 * The server span of a request, by the semantic conventions for HTTP; here traces begin.
 * Duty: whether this request is in a kept trace (its caller says so; else the ratio), the span from its first byte to the end of its answer.
 * Invariants:
 *  1. A request in no kept trace costs a look at one header and a random number: nothing is made for it.
 *  2. From `beginRequest` on the request's `traceparent` is that of its span, as if the caller were the span: capture, imports, REST and tRPC carry on from it.
 *  3. No attribute holds a query, a header or a body: those may be secrets.
 */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import { contextOf, formatTraceparent, isSampledContext, parseTraceparent, type Tracing } from "@onedata/telemetry";
import { SpanKind, SpanStatusCode } from "@opentelemetry/api";

export interface RequestSpan {
  /** What its route is called, e.g. `/v1/pipelines/{pipeline}`. */
  nameRoute(route: string): void;
  /** The status that was answered; undefined when the caller went away before. The first one counts. */
  end(status: number | undefined): void;
}

export type SpannedRequest = { readonly method: string; readonly url: string; readonly headers: IncomingHttpHeaders };

/** Undefined for a request in no kept trace; health checks and documents are in none. */
export function beginRequest(tracing: Tracing, { method, url, headers }: SpannedRequest): RequestSpan | undefined {
  const given = headers["traceparent"];
  const parent = typeof given === "string" ? parseTraceparent(given) : undefined;
  if (parent === undefined ? !tracing.samples() : !isSampledContext(parent)) return undefined;
  const path = pathOf(url);
  if (!isTraced(path)) return undefined;
  const hot = HOT_ROUTE.exec(path)?.[1];
  const route = hot === undefined ? undefined : `/v1/pipelines/{pipeline}${hot}`;
  const attributes = {
    "http.request.method": method,
    "url.path": path,
    "url.scheme": "http",
    ...(route === undefined ? {} : { "http.route": route }),
  };
  const name = route === undefined ? method : `${method} ${route}`;
  const span = tracing.tracer.startSpan(name, { kind: SpanKind.SERVER, attributes }, contextOf(parent));
  headers["traceparent"] = formatTraceparent(span.spanContext());
  let hasEnded = false;
  return {
    nameRoute: (named) => void span.updateName(`${method} ${named}`).setAttribute("http.route", named),
    end(status) {
      if (hasEnded) return;
      hasEnded = true;
      if (status === undefined) span.setAttribute("error.type", "aborted");
      else span.setAttribute("http.response.status_code", status);
      if (status !== undefined && status >= 500) span.setAttribute("error.type", String(status)).setStatus({ code: SpanStatusCode.ERROR });
      span.end();
    },
  };
}

/** Requests of node's server whose route somebody names; the hot ones are known by their shape. */
const spans = new WeakMap<IncomingMessage, RequestSpan>();

/** The same for a request that node's server has read: ends with its answer. */
export function traceRequest(tracing: Tracing, request: IncomingMessage, response: ServerResponse): void {
  const { method = "", url = "/", headers } = request;
  const span = beginRequest(tracing, { method, url, headers });
  if (span === undefined) return;
  spans.set(request, span);
  response.once("close", () => span.end(response.writableFinished ? response.statusCode : undefined));
}

export const nameRoute = (request: IncomingMessage, route: string): void => spans.get(request)?.nameRoute(route);

function pathOf(url: string): string {
  const question = url.indexOf("?");
  return question < 0 ? url : url.slice(0, question);
}

const isTraced = (path: string): boolean => path.startsWith("/v1/") || path.startsWith("/trpc/") || path.startsWith("/oauth2/");

const HOT_ROUTE = /^\/v1\/pipelines\/[^/]+(\/events|\/imports)$/;
