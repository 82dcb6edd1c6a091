import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { chooseCopy } from "./choose-copy.ts";
import { writeManifest } from "./manifest.ts";
import { restoreBackup } from "./restore.ts";

const at = (minute: number): Date => new Date(Date.UTC(2026, 0, 31, 12, minute));
let root: string;
let folder: string;

/** Copies of 12:10 and 12:30, an archive whose last segment was written at 12:50. */
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "onedata-choose-"));
  folder = join(root, "backup");
  mkdirSync(join(folder, "wal"), { recursive: true });
  addCopy("first", at(10), "000000010000000000000001");
  addCopy("second", at(30), "000000010000000000000002");
  for (const n of [1, 2, 3]) {
    const file = join(folder, "wal", `00000001000000000000000${n}.gz`);
    writeFileSync(file, "");
    utimesSync(file, at(10 + 20 * (n - 1)), at(10 + 20 * (n - 1)));
  }
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function addCopy(label: string, stoppedAt: Date, wal: string): void {
  mkdirSync(join(folder, "base", label), { recursive: true });
  writeManifest(join(folder, "base", label), {
    format: 1,
    kind: "embedded",
    label,
    startedAt: stoppedAt.toISOString(),
    stoppedAt: stoppedAt.toISOString(),
    systemIdentifier: "1",
    serverVersion: 180_000,
    timeline: 1,
    segmentBytes: 16 * 1024 ** 2,
    startWal: wal,
    stopWal: wal,
    directories: [],
    files: [],
    home: [],
  });
}

const choose = (to?: Date): string => chooseCopy(folder, to, at(59)).manifest.label;

it("takes the newest copy, or the newest that was finished by the time", () => {
  expect([choose(), choose(at(45)), choose(at(30)), choose(at(29)), choose(at(10))]).toEqual(["second", "second", "second", "first", "first"]);
});

it("says that a time lies before the oldest copy, in the future, or after the archive's end", () => {
  expect(() => choose(at(9))).toThrow(/the oldest base copy in .* was finished at 2026-01-31T12:10:00.000Z: no restore to a time before it/);
  expect(() => choose(at(60))).toThrow(/2026-01-31T13:00:00.000Z lies in the future \(it is 2026-01-31T12:59:00.000Z\)/);
  expect(() => choose(at(52))).toThrow(/the archive ends before 2026-01-31T12:52:00.000Z: its last segment was written at 2026-01-31T12:50:00.000Z/);
  // The clocks may differ a little: from here on the server itself says whether it gets there.
  expect(choose(at(51))).toBe("second");
});

it("says so before a restore touches anything", async () => {
  const home = join(root, "home");
  for (const to of [at(9), new Date(Date.now() + 60_000), at(52)])
    await expect(restoreBackup({ folder, home, to, force: true })).rejects.toMatchObject({ code: "backup.failed" });
  expect(readdirSync(root)).toEqual(["backup"]);
});
