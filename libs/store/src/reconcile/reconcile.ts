/**
 * Compares queue, runs, lanes, imports and jobs with each other, and looks at the server: reports what cannot be.
 * Duty: run every check, bounded. Non-duty: mending anything (`sweep.ts`, engines), sinks' ledgers (`ledger-samples.ts`).
 *
 * Invariants: every check has a limit, a timeout and a read-only transaction of its own, so it never takes a lock that work waits for and never keeps a
 * snapshot for long; a check that cannot look says so and does not stop the others.
 */
import { isConnectionLost, type Sql, sqlStateOf } from "../connection.ts";
import { type Check, type Finding, type LookOptions, THRESHOLDS, type Thresholds } from "./check.ts";
import { databaseChecks } from "./database-checks.ts";
import { eventChecks } from "./event-checks.ts";
import { queueChecks } from "./queue-checks.ts";

const CHECKS: readonly Check[] = [...queueChecks, ...eventChecks, ...databaseChecks];

const STATEMENT_TIMEOUT = "2s";
// No generic plans: what is looked at is sometimes tiny and sometimes huge. No parallel workers and no compilation beside the hot path.
const SETTINGS = `set local statement_timeout = '${STATEMENT_TIMEOUT}'; set local lock_timeout = '200ms'; set local max_parallel_workers_per_gather = 0; set local jit = off; set local plan_cache_mode = force_custom_plan`;

export type ReconcileOptions = Omit<LookOptions, "thresholds"> & { readonly thresholds?: Partial<Thresholds> };

/** Throws only when the database is lost. */
export async function reconcile(sql: Sql, { thresholds, ...rest }: ReconcileOptions): Promise<readonly Finding[]> {
  const options: LookOptions = { ...rest, thresholds: { ...THRESHOLDS, ...thresholds } };
  const findings: Finding[] = [];
  for (const check of CHECKS) findings.push(await runCheck(sql, check, options));
  return findings;
}

async function runCheck(sql: Sql, check: Check, options: LookOptions): Promise<Finding> {
  const startedAt = performance.now();
  try {
    const { state, count, detail, examples } = await sql.begin("read only", async (tx) => {
      await tx.unsafe(SETTINGS);
      return check.look(tx, options);
    });
    return {
      check: check.name,
      state,
      count,
      detail,
      examples: examples ?? [],
      advice: state === "ok" ? "" : check.advice,
      tookMs: performance.now() - startedAt,
    };
  } catch (error) {
    if (isConnectionLost(error)) throw error;
    return { check: check.name, state: "warning", count: 0, examples: [], tookMs: performance.now() - startedAt, ...explain(error) };
  }
}

function explain(error: unknown): { readonly detail: string; readonly advice: string } {
  const code = sqlStateOf(error);
  if (code === "57014" || code === "55P03")
    return {
      detail: `the look itself took longer than ${STATEMENT_TIMEOUT}`,
      advice: "the database is busy, or a table has grown much: look at the other findings first",
    };
  if (code === "42501") return { detail: "the platform's role may not look at this", advice: "grant pg_monitor to the platform's role" };
  return {
    detail: `the look itself failed: ${error instanceof Error ? error.message : String(error)}`,
    advice: "is the schema that of this release? see database.schema; else report it",
  };
}
