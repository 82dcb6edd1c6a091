import { STATUS_CODES } from "node:http";
import type { ErrorCode } from "@onedata/core";

/** A whole answer, for where there is no response object, or none that could still be used. Closes the connection. */
export function rawProblem(status: number, code: ErrorCode, detail: string): string {
  const body = JSON.stringify({ type: `/docs/errors#${code}`, title: STATUS_CODES[status], status, code, detail });
  return `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`;
}
