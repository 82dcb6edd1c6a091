/**
 * Makes a Postgres recover as it does when one of its processes is killed: the postmaster lives on, all others end, and nobody can connect until the data is
 * replayed. For tests; needs a server on this machine.
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import postgres from "postgres";
import { isConnectionLost } from "../connection.ts";

/** Kills a backend with -9 and stops the process that recovers (SIGSTOP). Returns how to let it go on. `url`: a superuser's; `dataDir`: the embedded server's. */
export async function holdCrashRecovery({ url, dataDir }: { readonly url: string; readonly dataDir: string }): Promise<() => void> {
  const postmaster = Number(readFileSync(join(dataDir, "pg/postmaster.pid"), "utf8").split("\n")[0]);
  for (;;) {
    await writeMuch(url);
    const before = readChildren(postmaster);
    await killBackend(url);
    const recovering = findStartup(postmaster, before);
    if (recovering === undefined) continue; // It was over before it was seen: once more.
    process.kill(recovering, "SIGSTOP");
    if (readChildren(postmaster).has(recovering)) return () => void process.kill(recovering, "SIGCONT");
  }
}

/** What is to be replayed takes a while. */
const writeMuch = (url: string): Promise<unknown> =>
  withSql(url, async (sql) => {
    await sql.unsafe("create table if not exists to_replay (t text)");
    await sql.unsafe("insert into to_replay select repeat(md5(i::text), 20) from generate_series(1, 50000) i");
  });

/** Its own: an idle one is enough. */
const killBackend = (url: string): Promise<unknown> =>
  withSql(url, async (sql) => {
    const [row] = await sql<{ pid: number }[]>`select pg_backend_pid() as pid`;
    process.kill(row?.pid ?? 0, "SIGKILL");
  });

async function withSql<T>(url: string, work: (sql: postgres.Sql) => Promise<T>): Promise<T> {
  for (;;) {
    const sql = postgres(url, { max: 1, onnotice: () => undefined });
    try {
      return await work(sql);
    } catch (error) {
      // It recovers from the try before.
      if (!isConnectionLost(error)) throw error;
      await new Promise((wake) => setTimeout(wake, 50));
    } finally {
      await sql.end({ timeout: 1 });
    }
  }
}

/** Looks until it is there; undefined when the server works again without having been seen. */
function findStartup(postmaster: number, before: ReadonlyMap<number, string>): number | undefined {
  for (;;) {
    for (const [pid, command] of readChildren(postmaster)) {
      if (/\bstartup\b/.test(command)) return pid;
      if (/\bwalwriter\b/.test(command) && !before.has(pid)) return undefined;
    }
  }
}

/** Titles by pid. */
const readChildren = (postmaster: number): ReadonlyMap<number, string> =>
  new Map(
    execFileSync("ps", ["-A", "-o", "pid=,ppid=,command="], { encoding: "utf8" })
      .split("\n")
      .map((line) => /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line))
      .flatMap((match) => (match !== null && Number(match[2]) === postmaster ? [[Number(match[1]), match[3] ?? ""] as const] : [])),
  );
