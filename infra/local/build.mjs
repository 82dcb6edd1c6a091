// Builds what has changed since it was last built: programs that tests, benches and `npm run e2e` start are the ones that are deployed, not their source.
// Run by itself, or as a global setup of vitest.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");

export function setup() {
  if (!existsSync(join(root, "test/dist/.tsbuildinfo"))) console.error("Building (the first time; about a minute) ...");
  const { status } = spawnSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-b"], { cwd: root, stdio: ["ignore", 2, 2] });
  if (status !== 0) throw new Error("the programs could not be built: see the errors of tsc above");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) setup();
