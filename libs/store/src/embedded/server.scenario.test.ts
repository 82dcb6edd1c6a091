import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import postgres from "postgres";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openEmbeddedPostgres } from "./server.ts";

let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), "onedata-embedded-"));
});
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

async function query(url: string, text: string): Promise<readonly Record<string, unknown>[]> {
  const sql = postgres(url, { max: 1, onnotice: () => undefined });
  try {
    return await sql.unsafe(text);
  } finally {
    await sql.end();
  }
}

const postmasterPid = (): number => Number(readFileSync(join(dataDir, "pg/postmaster.pid"), "utf8").split("\n")[0]);

describe("the embedded Postgres", () => {
  it("is durable, listens on the loopback only, and keeps its password to itself", async () => {
    await using server = await openEmbeddedPostgres({ dataDir });
    const [row] = await query(
      server.url,
      `select current_setting('fsync') f, current_setting('synchronous_commit') s, current_setting('listen_addresses') l, current_setting('server_encoding') e`,
    );
    expect(row).toEqual({ f: "on", s: "on", l: "127.0.0.1", e: "UTF8" });
    expect(statSync(join(dataDir, "pg-password")).mode & 0o777).toBe(0o600);
    await expect(query(server.url.replace(/:[0-9a-f]+@/, ":wrong@"), "select 1")).rejects.toThrow(/password/);
  });

  it("keeps its data and its port over a restart", async () => {
    const first = await openEmbeddedPostgres({ dataDir });
    await query(first.url, "create table kept as select 42 as answer");
    await first.stop();
    await using second = await openEmbeddedPostgres({ dataDir });
    expect([second.adopted, second.port]).toEqual([false, first.port]);
    expect(await query(second.url, "select answer from kept")).toEqual([{ answer: 42 }]);
  });

  it("is adopted when its starter was killed, and started again when it died itself", async () => {
    const first = await openEmbeddedPostgres({ dataDir });
    const adopted = await openEmbeddedPostgres({ dataDir }); // as after kill -9 of the process that started it
    expect([adopted.adopted, adopted.url]).toEqual([true, first.url]);
    await query(first.url, "create table kept as select 1 as answer");
    const pid = postmasterPid();
    process.kill(pid, "SIGKILL");
    await using revived = await openEmbeddedPostgres({ dataDir });
    expect(revived.adopted).toBe(false);
    expect(await query(revived.url, "select answer from kept")).toEqual([{ answer: 1 }]);
  });

  it("stands in a session of its own, so Ctrl-C does not reach it", async () => {
    await using server = await openEmbeddedPostgres({ dataDir });
    expect(server.port).toBeGreaterThan(0);
    const session = (pid: number | "self"): string => readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ")[3] ?? "";
    if (process.platform === "linux") expect(session(postmasterPid())).not.toBe(session("self"));
  });
});
