// Makes a clone ready to run: installs what the lockfile names, once per lockfile and Node version. Plain Node, no dependency.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { allowsNode } from "./node-version.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const { engines } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
if (!allowsNode(engines.node, process.versions.node)) {
  console.error(`OneData needs Node ${engines.node}; this is ${process.versions.node}. Install one of those from https://nodejs.org and try again.`);
  process.exit(2);
}
const stamp = join(root, "node_modules", ".ready");
const key = createHash("sha256")
  .update(readFileSync(join(root, "package-lock.json")))
  .update(process.version)
  .update(process.platform)
  .digest("hex");
if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== key) {
  console.error("Installing dependencies (once per lockfile; about half a minute) ...");
  const { status } = spawnSync("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd: root,
    stdio: ["ignore", 2, 2],
    shell: process.platform === "win32",
  });
  if (status !== 0) {
    console.error("npm ci failed; see above. Is the npm registry reachable?");
    process.exit(status ?? 1);
  }
  writeFileSync(stamp, key);
}
