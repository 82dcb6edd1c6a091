/**
 * `npm run gen`: writes every generated file. `npm run gen -- --check`: writes nothing, names each file that is stale, missing or left over, and exits 1.
 * Duty: run the steps, each into a folder of its own, then bring the tree in line with it. Non-duty: what a step generates.
 * Invariants: a step owns its `outputs` wholly (what it does not write there is deleted); the same inputs give the same bytes; no network.
 * A new generator is one more row of `steps`.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { writeBarrels } from "./gen-barrels.mjs";
import { writeImage } from "./gen-image.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** @type {{ name: string; outputs: string[]; run: (out: string) => void | Promise<void> }[]} `run` writes `outputs` below the folder `out`. */
const steps = [
  {
    name: "messages and definitions (ts-proto), options (protoc-gen-es)",
    outputs: ["libs/contracts/src/gen"],
    run: async (out) => {
      run("buf", ["generate", "--output", out]);
      const image = join(out, "image.binpb");
      run("buf", ["build", "--output", image]);
      const bytes = readFileSync(image);
      rmSync(image);
      await writeImage(bytes, join(out, "libs/contracts/src/gen"));
      await writeBarrels(bytes, join(out, "libs/contracts/src/gen"));
    },
  },
  {
    // After the contract: it reads the image that the first step has just written.
    name: "OpenAPI 3.1",
    outputs: ["gateway/openapi.json"],
    run: (out) => {
      mkdirSync(join(out, "gateway"));
      runSource("gateway/src/openapi/write-open-api.ts", [join(out, "gateway/openapi.json")]);
    },
  },
];

async function main(check) {
  const stale = [];
  for (const step of steps) {
    const out = mkdtempSync(join(tmpdir(), "onedata-gen-"));
    try {
      await step.run(out);
      for (const output of step.outputs) stale.push(...sync(join(out, output), join(root, output), check));
    } finally {
      rmSync(out, { recursive: true, force: true });
    }
  }
  if (check && stale.length > 0) {
    console.error(
      `${stale.length} generated file(s) do not match their sources; run \`npm run gen\` and commit:\n${stale.map(({ path, why }) => `  ${why.padEnd(9)} ${path}`).join("\n")}`,
    );
    process.exit(1);
  }
  console.log(
    check
      ? "generated files are fresh"
      : stale.length === 0
        ? "nothing changed"
        : stale.map(({ path, why }) => `${why.padEnd(9)} ${path}`).join("\n"),
  );
}

/** Makes `to` equal to `from`, or only says what differs. Unchanged files keep their modification time, so compilers stay incremental. */
function sync(from, to, check) {
  const wanted = new Set(filesIn(from));
  const changes = [];
  for (const file of new Set([...wanted, ...filesIn(to)])) {
    const [source, target] = file === "" ? [from, to] : [join(from, file), join(to, file)];
    const why = !wanted.has(file)
      ? "left over"
      : !existsSync(target)
        ? "missing"
        : readFileSync(source).equals(readFileSync(target))
          ? undefined
          : "stale";
    if (why === undefined) continue;
    changes.push({ path: relative(root, target), why });
    if (check) continue;
    if (why === "left over") rmSync(target);
    else {
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(target, readFileSync(source));
    }
  }
  return changes;
}

/** Relative paths of all files below; "" for a path that is a file itself. */
function filesIn(path) {
  if (!existsSync(path)) return [];
  if (statSync(path).isFile()) return [""];
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(path, join(entry.parentPath ?? entry.path, entry.name)))
    .sort();
}

/** Runs a program of node_modules/.bin in the repository's root; its stderr is ours. */
function run(program, args) {
  execFileSync(join(root, "node_modules/.bin", program), args, { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
}

/** Runs a TypeScript module of ours from source. */
function runSource(module, args) {
  execFileSync(process.execPath, ["--conditions=source", "--import", "tsx", module, ...args], { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
}

await main(process.argv.includes("--check"));
