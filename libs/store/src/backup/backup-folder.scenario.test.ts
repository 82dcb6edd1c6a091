/** What a backup folder must not do: take in two servers, hide damage, grow for ever, or stop being written without anybody seeing it. */
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { connect, type Sql } from "../connection.ts";
import { archiveStatus, type BackUpResult, backUp, restoreBackup, stopArchiving, verifyBackup } from "./index.ts";
import { openTestHome, type TestHome } from "./testing.ts";

let root: string;
let home: TestHome;
let sql: Sql;
let first: BackUpResult;
const at = (name: string): string => join(root, name);
const make = (keep = 7): Promise<BackUpResult> => backUp({ home: at("home"), folder: at("backup"), keep, archiveEverySeconds: 1 });

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "onedata-folder-"));
  chmodSync(root, 0o755);
  home = await openTestHome(at("home"));
  sql = connect(home.url, { max: 1, applicationName: "test" });
  first = await make();
});
afterAll(async () => {
  await sql.end({ timeout: 2 });
  await home[Symbol.asyncDispose]();
  rmSync(root, { recursive: true, force: true });
});

it("refuses a folder of another database, one within the data, and a second server with the same data", async () => {
  await using other = await openTestHome(at("other"));
  await expect(backUp({ home: at("other"), folder: at("backup"), keep: 1 })).rejects.toThrow(/backups of another database/);
  await expect(backUp({ home: at("home"), folder: join(at("home"), "postgres", "backup"), keep: 1 })).rejects.toThrow(/lie within each other/);
  await other[Symbol.asyncDispose]();
  // A copy of the data under the same timeline, as a snapshot of the disk would be.
  const known = readFileSync(join(home.dataDir, "archive-owner"), "utf8");
  rmSync(join(home.dataDir, "archive-owner"));
  await expect(make()).rejects.toThrow(/another server with this data writes to/);
  writeFileSync(join(home.dataDir, "archive-owner"), known);
});

it("names a changed, a missing and a truncated file, and restores none of it", async () => {
  const [file, segment] = [
    join(first.folder, "data/PG_VERSION"),
    at(`backup/wal/${readdirSync(at("backup/wal")).find((name) => /^[0-9A-F]{24}\.gz$/.test(name))}`),
  ];
  const [text, packed] = [readFileSync(file), readFileSync(segment)];
  const problems = async (): Promise<string[]> => (await verifyBackup(at("backup"))).copies.flatMap((copy) => [...copy.problems]);
  expect(await problems()).toEqual([]);
  writeFileSync(file, "19\n");
  expect(await problems()).toEqual([`${file} has changed`]);
  await expect(restoreBackup({ folder: at("backup"), home: at("elsewhere") })).rejects.toThrow(/have changed since the backup/);
  expect(readdirSync(at("elsewhere")).filter((name) => name.startsWith("postgres."))).toEqual([]);
  writeFileSync(file, text);
  writeFileSync(segment, packed.subarray(0, packed.length / 2));
  expect(await problems()).toEqual([expect.stringContaining("cannot be read")]);
  rmSync(segment);
  expect(await problems()).toEqual([expect.stringContaining("is missing")]);
  await expect(restoreBackup({ folder: at("backup"), home: at("elsewhere") })).rejects.toThrow(/missing/);
  writeFileSync(segment, packed, { mode: 0o644 });
  const manifest = join(first.folder, "manifest.json");
  const good = readFileSync(manifest);
  writeFileSync(manifest, good.toString().replace(/"bytes": \d+/, '"bytes": 1'));
  expect((await verifyBackup(at("backup"))).problems.join()).toMatch(/does not match manifest.sha256/);
  writeFileSync(manifest, good);
});

it("shows a failing archive, keeps what could not be written, and goes on when it can", async () => {
  const owner = readFileSync(at("backup/owner"));
  writeFileSync(at("backup/owner"), "a server that was restored from it");
  await sql`select pg_switch_wal() from pg_logical_emit_message(true, 'test', 'x')`;
  await expect
    .poll(() => archiveStatus(sql), { timeout: 20_000 })
    .toMatchObject({ state: "failing", problem: expect.stringContaining("the archive fails since") });
  expect((await archiveStatus(sql)).waitingSegments).toBeGreaterThan(0);
  await expect(make()).rejects.toThrow(/another server with this data writes to/);
  writeFileSync(at("backup/owner"), owner);
  // The server tries again a minute later by itself; a reload tells it now.
  await sql`select pg_reload_conf()`;
  await expect.poll(() => archiveStatus(sql), { timeout: 90_000, interval: 500 }).toMatchObject({ state: "ok", problem: undefined });
}, 240_000);

it("keeps as many copies as asked for, and the log from the oldest of them on", async () => {
  const [second, third] = [await make(), await make(2)];
  expect([third.archiveStarted, third.removedCopies, third.removedSegments > 0]).toEqual([false, [first.label], true]);
  expect(readdirSync(at("backup/base"))).toEqual([second.label, third.label]);
  expect((await verifyBackup(at("backup"))).copies.map(({ label, problems }) => [label, problems])).toEqual([
    [second.label, []],
    [third.label, []],
  ]);
});

it("refuses tablespaces, and stops archiving when told to", async () => {
  expect(await stopArchiving(sql, home.dataDir)).toBe(at("backup"));
  await expect.poll(() => archiveStatus(sql)).toMatchObject({ state: "off", problem: expect.stringContaining("no backup") });
});
