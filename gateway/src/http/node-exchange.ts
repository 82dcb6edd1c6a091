/** An exchange that node's HTTP server has read. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { readBody } from "./body.ts";
import type { Exchange } from "./exchange.ts";
import { sendProblem } from "./problem.ts";
import type { Log } from "./seam.ts";

export function toExchange(request: IncomingMessage, response: ServerResponse, log: Log): Exchange {
  return {
    url: request.url ?? "/",
    headers: request.headers,
    get isGone() {
      return response.closed;
    },
    readBody: (maxBytes, done, grow) => readBody(request, maxBytes, done, grow),
    send(status, headers, body) {
      response.writeHead(status, headers);
      response.end(body);
    },
    fail: (error) => sendProblem(response, error, log),
    onClose: (listener) => void response.once("close", listener),
  };
}
