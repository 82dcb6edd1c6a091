// `npm run check`: everything that can be known without running the product. Each step says what it looked at; all steps run, then the exit code tells.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";

const bin = (name) => `node_modules/.bin/${name}`;
/** @type {[title: string, command: string, args: string[]][]} */
const steps = [
  ["generated files are fresh", "node", ["infra/local/gen.mjs", "--check"]],
  ["proto: buf format", bin("buf"), ["format", "--diff", "--exit-code", "proto"]],
  ["proto: buf lint", bin("buf"), ["lint"]],
  ["proto: breaking changes against main", "node", ["infra/local/breaking.mjs"]],
  ["contract: scopes, timeouts, routes", "node", ["infra/local/contract-lint.mjs"]],
  ["types (tsc -b)", bin("tsc"), ["-b"]],
  ["format and import order (biome)", bin("biome"), ["check", "--error-on-warnings", "."]],
  ["lint (oxlint, type-aware)", bin("oxlint"), ["--type-aware", "--deny-warnings"]],
  ["floors and vendor fences", "node", ["infra/local/layers.mjs"]],
  ["dead code (knip)", bin("knip"), ["--no-progress"]],
];

const only = process.argv.slice(2).filter((arg) => !arg.startsWith("-"));
const failed = [];
for (const [title, command, args] of steps) {
  if (only.length > 0 && !only.some((word) => title.includes(word))) continue;
  const script = command === "node" ? (args[0] ?? "") : command;
  if (!existsSync(script)) {
    failed.push(title);
    console.log(`FAIL  ${title}: ${script} is missing`);
    continue;
  }
  const startedMs = performance.now();
  const run = spawnSync(command, args, { encoding: "utf8", maxBuffer: 64 * 1024 * 1024 });
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  if (run.status === 0) {
    console.log(`ok    ${title} (${seconds} s)`);
  } else {
    failed.push(title);
    console.log(`FAIL  ${title} (${seconds} s)\n${run.stdout}${run.stderr}`);
  }
}
if (failed.length > 0) {
  console.log(`\ncheck failed: ${failed.join("; ")}`);
  process.exit(1);
}
