/** Vitest's global setup: keeps the shared test Postgres up for the whole run, and stops it at the end unless another run uses it. */
import { beginTestRun, joinTestServer, leaveTestServer, readTestServerUrl } from "./test-server.ts";

export async function setup(): Promise<() => Promise<void>> {
  const url = readTestServerUrl();
  beginTestRun();
  await joinTestServer(url);
  return () => (url === undefined ? leaveTestServer() : Promise.resolve());
}
