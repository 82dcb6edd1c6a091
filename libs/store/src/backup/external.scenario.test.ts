/**
 * A Postgres of one's own, with its own programs: backed up by pg_basebackup, brought back by hand as docs/backup.md says, made fit to run.
 * Needs `initdb`, `pg_ctl` and `pg_basebackup` of one version, 15 or later: of Debian's packages, or in the folder that ONEDATA_TEST_POSTGRES_BIN names.
 */
import { execFile, spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { CaptureTarget } from "../capture-batches.ts";
import { claimRun } from "../claim.ts";
import { connect, openStore } from "../connection.ts";
import { asUser, chooseOsUser } from "../embedded/os-user.ts";
import { registerEngine } from "../lease.ts";
import { migrate } from "../migrate.ts";
import { createTestPipeline } from "../testing.ts";
import { backUpExternal, fenceDatabase, restoreBackup, verifyBackup } from "./index.ts";
import { captureNumber, readNumbers } from "./testing.ts";

const run = promisify(execFile);
const PASSWORD = "of the test";

/** The newest of Debian's folders that has all of them. */
function findPrograms(): string | undefined {
  const debian = "/usr/lib/postgresql";
  const folders = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : [];
  const candidates = [
    process.env["ONEDATA_TEST_POSTGRES_BIN"] ?? "",
    ...folders.filter((name) => Number(name) >= 15).map((name) => join(debian, name, "bin")),
  ];
  return candidates.find((bin) => bin !== "" && ["initdb", "pg_ctl", "pg_basebackup"].every((name) => existsSync(join(bin, name))));
}

const bin = findPrograms();
if (bin === undefined)
  console.log("skipped: no initdb, pg_ctl and pg_basebackup of PostgreSQL 15 or later; ONEDATA_TEST_POSTGRES_BIN=<folder> names them");

let root: string;
const running = new Set<string>();
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "onedata-external-"));
  // Started by root, Postgres runs as another user, who must be able to write there.
  chmodSync(root, 0o777);
});
afterEach(async () => {
  for (const data of running) await stop(data);
  rmSync(root, { recursive: true, force: true });
});

const program = (name: string, ...args: string[]) => run(join(bin ?? "", name), args, asUser(chooseOsUser()));

async function initialise(data: string): Promise<void> {
  const passwordFile = join(root, "password");
  writeFileSync(passwordFile, `${PASSWORD}\n`, { mode: 0o644 });
  await program("initdb", "-D", data, "-U", "postgres", `--pwfile=${passwordFile}`, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C");
}

/** Answers the superuser's URL of the database `onedata`. */
async function start(data: string): Promise<string> {
  const port = await freePort();
  const options = `-p ${port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off`;
  await program("pg_ctl", "-D", data, "-l", `${data}.log`, "-w", "-o", options, "start");
  running.add(data);
  return `postgres://postgres:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}/onedata`;
}

async function stop(data: string): Promise<void> {
  await program("pg_ctl", "-D", data, "-m", "fast", "-w", "stop");
  running.delete(data);
}

const freePort = (): Promise<number> =>
  new Promise((settle) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => settle(typeof address === "object" && address !== null ? address.port : 0));
    });
  });

async function query(url: string, statement: string) {
  const sql = connect(url, { max: 1, applicationName: "test" });
  try {
    return await sql.unsafe(statement);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

it.skipIf(bin === undefined)(
  "is copied while it works, brought back by hand, and made fit to run",
  async () => {
    const [data, folder, restored] = [join(root, "data"), join(root, "backup"), join(root, "restored")];
    await initialise(data);
    const url = await start(data);
    await query(url.replace("/onedata", "/postgres"), "create database onedata");
    await migrate(url);
    {
      await using store = openStore(url);
      const { tenantId, pipelineId } = await createTestPipeline(store.sql);
      const target: CaptureTarget = { tenantId, pipelineId, version: 1, laneClass: "live", ordered: false };
      for (let n = 0; n < 20; n++) await captureNumber(store, target, n);
      // An engine that holds a run, and that nobody hears of again.
      const incarnation = randomUUID();
      await registerEngine(store, { incarnation, slots: 1, leaseMs: 3_600_000, name: "of the past" });
      const { run: held } = await claimRun(store, { runId: randomUUID(), owner: incarnation, deadlineMs: 3_600_000, maxEvents: 5 });
      expect(held?.events).toBe(5);

      const made = await backUpExternal({ url, folder, keep: 7, path: bin ?? "" });
      expect(made).toMatchObject({ archiveStarted: false, removedCopies: [] });
      expect((await verifyBackup(folder)).copies.map(({ problems }) => problems)).toEqual([[]]);
      await expect(restoreBackup({ folder, home: join(root, "home") })).rejects.toThrow(/made by pg_basebackup of your own server/);
      // After the copy: lost with the server.
      await captureNumber(store, target, 20);
    }
    await stop(data);

    const [copy = ""] = readdirSync(join(folder, "base"));
    const user = chooseOsUser();
    spawnSync("cp", ["-a", join(folder, "base", copy, "data"), restored]);
    if (user !== undefined) spawnSync("chown", ["-R", `${user.uid}:${user.gid}`, restored]);
    spawnSync("chmod", ["700", restored]);
    const again = await start(restored);
    await expect(fenceDatabase(again.replace("/onedata", "/postgres"), { paused: false })).rejects.toThrow(/holds no OneData/);
    await expect(fenceDatabase(again, { paused: false })).rejects.toThrow(/of the past.*stop all of OneData/);
    await query(again, "update onedata.engines set alive_until = now()");
    expect(await fenceDatabase(again, { paused: true })).toEqual({ released: 5, pipelines: 1 });
    await using store = openStore(again);
    expect((await readNumbers(store)).sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, n) => n));
    expect(await store.sql`select state, generation from onedata.pipelines`).toEqual([{ state: "paused", generation: 10_000 }]);
    expect(await store.sql`select 1 from onedata.queue where run_id is not null or failures > 0`).toHaveLength(0);
  },
  180_000,
);

it.skipIf(bin === undefined)(
  "is refused with tablespaces, before anything is copied",
  async () => {
    const [data, folder, space] = [join(root, "data"), join(root, "backup"), join(root, "space")];
    await initialise(data);
    const url = (await start(data)).replace("/onedata", "/postgres");
    mkdirSync(space);
    const user = chooseOsUser();
    if (user !== undefined) spawnSync("chown", [`${user.uid}:${user.gid}`, space]);
    await query(url, `create tablespace elsewhere location '${space}'`);
    await expect(backUpExternal({ url, folder, keep: 7, path: bin ?? "" })).rejects.toThrow(/tablespaces \(elsewhere\)/);
    expect(existsSync(folder)).toBe(false);
  },
  180_000,
);
