#!/usr/bin/env node
// The `onedata` command: from source where there is source (a checkout), else as built.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";

const source = fileURLToPath(new URL("../src/main.ts", import.meta.url));
if (existsSync(source)) {
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
  const child = spawn(process.execPath, ["--conditions=source", "--import", tsx, source, ...process.argv.slice(2)], { stdio: "inherit" });
  // Ctrl-C reaches the child by itself: it decides how to end.
  process.on("SIGINT", () => undefined);
  process.on("SIGTERM", () => child.kill("SIGTERM"));
  child.on("exit", (code, signal) => process.exit(code ?? (signal === null ? 1 : 130)));
} else {
  await import("../dist/main.js");
}
