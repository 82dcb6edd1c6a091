/** Vitest's global setup: keeps the shared test Postgres up for the whole run, and stops it at the end unless another run uses it. */
import { joinTestServer, leaveTestServer } from "./test-server.ts";

export async function setup(): Promise<() => Promise<void>> {
  // Also read in testing.ts: tests have no main.ts that could pass it on.
  const url = process.env["TEST_DATABASE_URL"];
  await joinTestServer(url);
  return () => (url === undefined ? leaveTestServer() : Promise.resolve());
}
