/**
 * A home that was started and stopped once, with database and examples in place, for worlds to begin with a copy of: making one takes longer than most tests.
 * Vitest's setup makes it once a run and names it in the environment, which is what reaches its workers; without it, worlds start in an empty home.
 */
import { execFileSync } from "node:child_process";

export const HOME_TEMPLATE = "ONEDATA_TEST_HOME";

/** Fills an empty home from the template, if there is one. */
export function furnish(home: string): void {
  const template = process.env[HOME_TEMPLATE] ?? "";
  // `cp`, because the data belongs to the server's OS user, and keeps its owner.
  if (template !== "") execFileSync("cp", ["-a", `${template}/.`, home]);
}
