import { OneDataError } from "@onedata/core";
import { describe, expect, it } from "vitest";
import { createDiskGuard } from "./disk-guard.ts";

const MIB = 1024 * 1024;
const LOG = { info: () => undefined, warn: () => undefined, error: () => undefined };
const full = new OneDataError("capture.disk_full", "full");
const never = new AbortController().signal;

describe("the disk guard", () => {
  it("closes at the database's largest size, opens below it, and reckons with what it let in since it looked", async () => {
    let bytes = 10 * MIB;
    const guard = createDiskGuard({ maxDatabaseBytes: 100 * MIB }, { databaseBytes: () => Promise.resolve(bytes), now: () => 0 }, LOG);
    await guard.refresh();
    for (let i = 0; i < 29; i++) guard.admit(MIB);
    expect(() => guard.admit(2 * MIB)).toThrow(expect.objectContaining({ code: "capture.disk_full", retryAfterSeconds: 1 }));
    bytes = 100 * MIB;
    await guard.refresh();
    expect(() => guard.admit(1)).toThrow(expect.objectContaining({ code: "capture.disk_full", retryAfterSeconds: 30 }));
    expect(() => guard.admitImport()).toThrow(expect.objectContaining({ code: "capture.disk_full" }));
    bytes = 98 * MIB;
    await guard.refresh();
    expect(guard.figures).toMatchObject({ open: false, databaseBytes: bytes, refused: 3 });
    bytes = 20 * MIB;
    await guard.refresh();
    await guard.refresh();
    guard.admit(MIB);
    expect(guard.figures.open).toBe(true);
  });

  it("after a full disk lets one small capture try, doubles its pause when that fails, and opens when one is written", async () => {
    let nowMs = 1_000_000;
    const guard = createDiskGuard({}, { databaseBytes: () => Promise.resolve(0), now: () => nowMs }, LOG);
    guard.noteError(full);
    expect(() => guard.admit(10)).toThrow(expect.objectContaining({ code: "capture.disk_full", retryAfterSeconds: 2 }));
    nowMs += 2_000;
    expect(() => guard.admit(MIB)).toThrow(full.constructor);
    guard.admit(10);
    expect(() => guard.admit(10)).toThrow(full.constructor);
    guard.noteError(full);
    expect(() => guard.admit(10)).toThrow(expect.objectContaining({ retryAfterSeconds: 4 }));
    nowMs += 4_000;
    // An import may be the one that tries.
    await guard.whenOpen(10 * MIB, never);
    guard.noteWritten();
    guard.admit(MIB);
    expect(guard.figures.open).toBe(true);
  });

  it("refuses nobody because it cannot look", async () => {
    const guard = createDiskGuard({ folder: "/nowhere/at/all" }, { databaseBytes: () => Promise.resolve(0) }, LOG);
    await guard.refresh();
    guard.admit(MIB);
    expect(guard.figures).toMatchObject({ open: true, freeBytes: undefined });
  });
});
