import { createServer } from "node:http";
import { OneDataError } from "@onedata/core";
import { afterEach, expect, it } from "vitest";
import { sendProblem } from "./problem.ts";
import type { Log } from "./seam.ts";

const servers: ReturnType<typeof createServer>[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

async function answerTo(error: unknown): Promise<{ status: number; retryAfter: string | null; code: string; logged: string }> {
  const logged: string[] = [];
  const log: Log = { info: () => undefined, warn: () => undefined, error: (_message, fields) => void logged.push(String(fields?.["error"])) };
  const server = createServer((_request, response) => sendProblem(response, error, log));
  servers.push(server);
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const address = server.address();
  const response = await fetch(`http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`);
  return {
    status: response.status,
    retryAfter: response.headers.get("retry-after"),
    code: ((await response.json()) as { code: string }).code,
    logged: logged.join(),
  };
}

it("says of a database that is away that it can be tried again, and of anything else that is unknown nothing but a number", async () => {
  const gone = Object.assign(new Error("connect ECONNREFUSED 10.1.2.3:5432"), { code: "ECONNREFUSED" });
  const unavailable = { status: 503, retryAfter: "1", code: "store.unavailable" };
  expect(await answerTo(gone)).toMatchObject({ ...unavailable, logged: expect.stringContaining("10.1.2.3") });
  expect(await answerTo(OneDataError.from(Object.assign(new Error("starting up"), { code: "57P03" })))).toMatchObject(unavailable);
  expect(await answerTo(new Error("secret"))).toMatchObject({ status: 500, retryAfter: null, code: "internal", logged: "Error: secret" });
});
