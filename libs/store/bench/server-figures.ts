/** What a Postgres server on this machine spends: CPU time of its processes (Linux; 0 elsewhere) and buffers of one backend. Wall time says little on a shared machine. */
import { readdirSync, readFileSync } from "node:fs";
import type { Sql } from "@onedata/store";

const MS_PER_TICK = 10;

/** Fields of `/proc/<pid>/stat` after the name: state, ppid, ... utime and stime at 11 and 12, those of ended children at 13 and 14. */
function readStat(pid: number | string): string[] {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /s, "")
      .split(" ");
  } catch {
    return [];
  }
}

const ticks = (fields: readonly string[], at: readonly number[]): number => at.reduce((sum, i) => sum + Number(fields[i] ?? 0), 0);

/** User and system time of the server, its backends and what they have ended, in milliseconds. */
export function serverCpuMs(postmaster: number): number {
  try {
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .reduce((sum, pid) => {
        const fields = readStat(pid);
        if (Number(pid) === postmaster) return sum + ticks(fields, [11, 12, 13, 14]) * MS_PER_TICK;
        return Number(fields[1]) === postmaster ? sum + ticks(fields, [11, 12]) * MS_PER_TICK : sum;
      }, 0);
  } catch {
    return 0;
  }
}

export const backendCpuMs = (pid: number): number => ticks(readStat(pid), [11, 12]) * MS_PER_TICK;

/** Buffers that the connections of this application name have looked at since they began; PostgreSQL 18 and later, 0 before. */
export async function buffersOf(sql: Sql, applicationName: string): Promise<number> {
  const [row] = await sql<{ buffers: number }[]>`
    select coalesce(sum(coalesce(hits, 0) + coalesce(reads, 0)), 0)::float8 as buffers from pg_stat_activity a cross join lateral pg_stat_get_backend_io(a.pid)
     where datname = current_database() and starts_with(application_name, ${applicationName})`.catch(() => []);
  return row?.buffers ?? 0;
}
