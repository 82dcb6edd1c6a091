import { type ChildProcess, type StdioOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const module = new URL("./run-until-signal.ts", import.meta.url).href;

/** Runs `body` as the work of a process of its own. */
function start(
  body: string,
  options: { readonly stdio?: StdioOptions } = {},
): { child: ChildProcess; said: (word: string) => Promise<void>; exit: Promise<number | null>; output: () => string } {
  const code = `const { runUntilSignal } = await import(${JSON.stringify(module)}); const { OneDataError } = await import("@onedata/core"); const { writeSync } = await import("node:fs");
    await runUntilSignal(async (signal) => { ${body} }, { graceMs: 10_000 });`;
  const child = spawn(process.execPath, ["--conditions=source", "--import", "tsx", "--input-type=module", "--eval", code], {
    cwd: fileURLToPath(new URL("../..", import.meta.url)),
    ...options,
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (data: Buffer) => (output += data.toString()));
  const exit = once(child, "exit").then(([exitCode]: unknown[]) => (typeof exitCode === "number" ? exitCode : null));
  const said = (word: string): Promise<void> => expect.poll(() => output, { timeout: 20_000, interval: 10 }).toContain(word);
  return { child, said, exit, output: () => output };
}

const untilAborted = `const aborted = new Promise((resolve) => signal.addEventListener("abort", resolve)); const alive = setInterval(() => {}, 1000); console.log("up");`;

describe("runUntilSignal", { timeout: 60_000 }, () => {
  it("drains on SIGTERM and exits 0", async () => {
    const { child, said, exit, output } = start(`${untilAborted} await aborted; clearInterval(alive); console.log("drained");`);
    await said("up");
    child.kill("SIGTERM");
    expect(await exit).toBe(0);
    expect(output()).toContain("drained");
  });

  it("drains when its terminal is closed: told twice, with nobody who reads what it writes", async () => {
    const { child, said, exit } = start(
      `const again = new Promise((resolve) => { let times = 0; process.on("SIGHUP", () => ++times === 2 && resolve()); });
      ${untilAborted} await aborted; writeSync(3, "draining "); await again; clearInterval(alive); console.log("unread"); writeSync(3, "drained");`,
      { stdio: ["ignore", "pipe", "pipe", "pipe"] },
    );
    await said("up");
    let report = "";
    child.stdio[3]?.on("data", (data: Buffer) => (report += data.toString()));
    child.stdout?.destroy();
    child.stderr?.destroy();
    child.kill("SIGHUP");
    await expect.poll(() => report, { timeout: 20_000, interval: 10 }).toBe("draining ");
    child.kill("SIGHUP");
    expect(await exit).toBe(0);
    await expect.poll(() => report, { timeout: 20_000, interval: 10 }).toBe("draining drained");
  });

  it("drains when the process that started it over a channel is gone", async () => {
    const { child, said, exit, output } = start(`${untilAborted} await aborted; clearInterval(alive); console.log("drained");`, {
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    });
    await said("up");
    child.disconnect();
    expect(await exit).toBe(0);
    expect(output()).toContain("drained");
  });

  it("ends by itself beside an open channel", async () => {
    const { exit } = start(`console.log("done");`, { stdio: ["ignore", "pipe", "pipe", "ipc"] });
    expect(await exit).toBe(0);
  });

  it("is forced by a second SIGINT", async () => {
    const { child, said, exit } = start(`${untilAborted} await aborted; console.log("stuck"); await new Promise(() => {});`);
    await said("up");
    child.kill("SIGINT");
    await said("stuck");
    child.kill("SIGINT");
    expect(await exit).toBe(130);
  });

  it("exits 2 and prints all problems of the configuration", async () => {
    const { exit, output } = start(`throw new OneDataError("config.problems", "two problems:\\n  - a\\n  - b");`);
    expect(await exit).toBe(2);
    expect(output()).toContain("  - b");
    expect(output()).not.toContain("at ");
  });

  it("exits 1 when the work fails", async () => {
    const { exit, output } = start(`throw new Error("no luck");`);
    expect(await exit).toBe(1);
    expect(output()).toContain("no luck");
  });
});
