/** What retention could not do, for doctors, logs and alarms: empty when all is well. */
import type { Sql } from "../connection.ts";
import { eventTables, listPartitions } from "./partitions.ts";
import { listRetentions, longestOf, type RetentionDays } from "./policy.ts";
import { FILE_PLACES, unexportedOf } from "./unexported.ts";

/** `key` names the problem, the same in every round; `detail` is a sentence with what to do. */
export type RetentionProblem = { readonly key: string; readonly detail: string };

const DAY_MS = 86_400_000;
/** Above a day for what is done within minutes, so nobody is woken for a restart. */
const OVERDUE_DAYS = 1;

export async function retentionProblems(sql: Sql, { max, now }: { readonly max: RetentionDays; readonly now: Date }): Promise<RetentionProblem[]> {
  const longest = longestOf(await listRetentions(sql, max), max);
  const idAt = (days: number): bigint => BigInt(now.getTime() - Math.round(days * DAY_MS)) << 20n;
  const problems: RetentionProblem[] = [];
  const old = (await listPartitions(sql, eventTables)).filter(
    ({ lower, upper }) => lower !== undefined && upper <= idAt(longest.eventsDays + OVERDUE_DAYS),
  );
  const blockers = old.length === 0 ? "" : await describeBlockers(sql);
  const days = [...new Set(old.map(({ upper }) => toDay(upper)))];
  if (days.length > 0)
    problems.push({
      key: `days ${days[0]}`,
      detail: `${days.length} day${days.length === 1 ? "" : "s"} of events, from ${days[0]}, should have gone and take up the disk still${blockers}`,
    });
  const [work] = await sql<
    { started_at: Date; problem: string | null }[]
  >`select started_at, problem from onedata.retention_work where kind = 'events'`;
  if (work !== undefined && (work.problem !== null || now.getTime() - work.started_at.getTime() > DAY_MS / 24))
    problems.push({
      key: "work",
      detail: `the drop of old days that began at ${work.started_at.toISOString()} is not done${work.problem === null ? (blockers === "" ? await describeBlockers(sql) : blockers) : `: ${work.problem}`}; rows that a paused pipeline needs are out of sight until then`,
    });
  const files = await sql.unsafe<{ name: string }[]>(
    `with ${FILE_PLACES} select distinct p.name || '.' || f.sink_id as name from ${unexportedOf("onedata.outputs", "onedata.runs")}
       join onedata.pipelines p on p.id = f.pipeline_id where o.batch_id < $1::bigint order by 1 limit 10`,
    [String(idAt(longest.eventsDays + OVERDUE_DAYS))],
  );
  if (files.length > 0)
    problems.push({
      key: "files",
      detail: `results that no file holds yet are older than their retention and are kept (${files.map(({ name }) => name).join(", ")}): does a load process run that has their folder, and is there room in it?`,
    });
  const months = (await listPartitions(sql, ["dead_letters"])).filter(({ upper }) => upper <= idAt(longest.deadLettersDays + 2 * OVERDUE_DAYS));
  if (months.length > 0)
    problems.push({
      key: `months ${months[0]?.table ?? ""}`,
      detail: `${months.map(({ table }) => table).join(", ")} should have gone: a job replays letters of it, or a transaction is in the way`,
    });
  return problems;
}

const toDay = (upper: bigint): string => new Date(Number(upper >> 20n) - 1).toISOString().slice(0, 10);

/** Who has held a lock on these tables for long. */
async function describeBlockers(sql: Sql): Promise<string> {
  const rows = await sql<{ pid: number; application: string; seconds: number }[]>`
    select distinct a.pid, a.application_name as application, extract(epoch from clock_timestamp() - a.xact_start)::int as seconds
      from pg_locks l join pg_stat_activity a on a.pid = l.pid
     where l.relation in (select to_regclass('onedata.' || t) from unnest(${`{${eventTables.join(",")}}`}::text[]) t)
       and l.pid <> pg_backend_pid() and a.xact_start < clock_timestamp() - interval '10 seconds' order by seconds desc limit 3`;
  if (rows.length === 0) return "";
  return `; in the way: ${rows.map(({ pid, application, seconds }) => `transaction of ${application === "" ? "a client" : application} (pid ${pid}, open for ${seconds} s)`).join(", ")}; end it with pg_terminate_backend`;
}
