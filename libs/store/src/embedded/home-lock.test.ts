import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { lockHome } from "./home-lock.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "onedata-lock-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it("takes over what a killed process left, a recycled process id included, and leaves nothing behind", async () => {
  for (const left of ["999999999 1", ...(process.platform === "linux" ? [`${process.ppid} 1`] : []), "garbage", ""]) {
    writeFileSync(join(folder, "lock"), left);
    await using _lock = lockHome(folder);
    expect(readFileSync(join(folder, "lock"), "utf8")).toMatch(new RegExp(`^${process.pid}\\b`));
    expect(statSync(join(folder, "lock")).mode & 0o777).toBe(0o600);
  }
  expect(existsSync(join(folder, "lock"))).toBe(false);
});

it("says what to do where the folder cannot be used", () => {
  writeFileSync(join(folder, "file"), "");
  expect(() => lockHome(join(folder, "file"))).toThrow(/cannot be used.*\n.*ONEDATA_HOME/);
});
