/** Vitest's global setup of the scenarios: makes the home that their worlds begin with a copy of. */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HOME_TEMPLATE } from "./home-template.ts";
import { openWorld, removeHome } from "./world.ts";

export async function setup(): Promise<() => void> {
  // On a server of somebody else's, each world makes its database.
  if ((process.env["ONEDATA_TEST_POSTGRES"] ?? "") !== "") return () => undefined;
  const home = mkdtempSync(join(tmpdir(), "onedata-home-template-"));
  chmodSync(home, 0o755);
  const world = await openWorld("solo", { home });
  await world.stop();
  // Worlds start side by side: each takes a port of its own.
  rmSync(join(home, "postgres", "port"), { force: true });
  process.env[HOME_TEMPLATE] = home;
  return () => removeHome(home);
}
