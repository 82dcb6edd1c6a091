/**
 * Writes groups of both Postgres sinks: one transaction per connection for all of them, parted only as far as a fault demands.
 *
 * How a fault is parted: a statement that fails names its group, so the others go again in one transaction without it; that group goes alone, then in halves down to
 * single events. A fault that names no group (a constraint checked at commit) sends each group alone. So exactly the bad events fail, and 200 healthy groups never cost 200 commits.
 */
import { OneDataError } from "@onedata/core";
import { type SinkGroup, type SinkWriter, unavailable, WRITE_BUDGET_MS, type WriteContext, type WriteOutcomes } from "../sink.ts";
import { type AttemptFailure, attempt } from "./attempt.ts";
import { type PostgresConnection, readPostgresConnection } from "./connection-config.ts";
import { explainRefusal } from "./explain.ts";
import type { Pools, SinkDatabase } from "./pools.ts";
import { type PostgresSinkConfig, readPostgresSinkConfig } from "./sink-config.ts";
import { shorten, toSqlFailure } from "./sqlstate.ts";
import { type TableName, tableKey } from "./tables.ts";
import { type Part, readRows, refuseGroup, refuseUnit, settle, toUnits } from "./units.ts";

type Ready = { readonly group: SinkGroup; readonly config: PostgresSinkConfig; readonly connection: PostgresConnection };
type Job = { readonly database: SinkDatabase; readonly context: WriteContext; readonly outcomes: WriteOutcomes; readonly startedAtMs: number };

/** Groups that a fault took out of a transaction before each goes alone: beyond this many, statements would be repeated too often. */
const MAX_EXCLUSIONS = 4;

export function createPostgresWriter(pools: Pools, budgetMs = WRITE_BUDGET_MS): SinkWriter {
  return {
    async write(groups, context) {
      const outcomes: WriteOutcomes = new Map();
      const buckets = new Map<string, Ready[]>();
      for (const group of groups) {
        const ready = readGroup(group, outcomes);
        if (ready === undefined) continue;
        const key = JSON.stringify([group.tenant, ready.connection]);
        const bucket = buckets.get(key);
        if (bucket === undefined) buckets.set(key, [ready]);
        else bucket.push(ready);
      }
      await Promise.all([...buckets.values()].map((bucket) => writeBucket(pools, bucket, { context, outcomes, budgetMs })));
      return outcomes;
    },
  };
}

function readGroup(group: SinkGroup, outcomes: WriteOutcomes): Ready | undefined {
  try {
    const config = readPostgresSinkConfig(group.kind, group.config);
    if (group.connection?.kind !== "postgres")
      throw new OneDataError("config.invalid", `${group.kind} needs a connection of kind postgres, got ${group.connection?.kind ?? "none"}`);
    return { group, config, connection: readPostgresConnection(group.connection.config) };
  } catch (error) {
    refuseGroup(group, OneDataError.from(error).message, outcomes);
    return undefined;
  }
}

async function writeBucket(
  pools: Pools,
  bucket: readonly Ready[],
  { context: call, outcomes, budgetMs }: { context: WriteContext; outcomes: WriteOutcomes; budgetMs: number },
): Promise<void> {
  const [first] = bucket;
  if (first === undefined) return;
  const budget = AbortSignal.timeout(budgetMs);
  const context = { ...call, signal: AbortSignal.any([call.signal, budget]) };
  try {
    await pools.use({ connection: first.connection, tenant: first.group.tenant, signal: context.signal }, async (database) => {
      const job: Job = { database, context, outcomes, startedAtMs: performance.now() };
      await writeAll(job, await toParts(job, bucket));
    });
  } catch (error) {
    if (call.signal.aborted) throw error;
    const message = budget.aborted
      ? `${first.connection.host}:${first.connection.port}/${first.connection.database} took longer than ${budgetMs} ms`
      : error instanceof OneDataError
        ? error.message
        : `${first.connection.host}:${first.connection.port}/${first.connection.database}: ${shorten(toSqlFailure(error).message, 300)}`;
    for (const { group } of bucket) markUnavailable(group, message, outcomes);
  }
}

async function toParts(job: Job, bucket: readonly Ready[]): Promise<readonly Part[]> {
  const named = bucket.map((ready) => ({ ready, name: nameOf(ready.config, job.database) }));
  const tables = await job.database.tables.read(
    job.database,
    named.map(({ name }) => name),
  );
  const parts: Part[] = [];
  const seen = new Set<string>();
  for (const { ready, name } of named) {
    const table = tables.get(tableKey(name));
    if (table === undefined) {
      markUnavailable(
        ready.group,
        `table ${name.schema}.${name.table} does not exist in ${job.database.address}, or its schema is closed to this role`,
        job.outcomes,
      );
      continue;
    }
    const input = { group: ready.group, config: ready.config, table };
    const unread = { ...input, units: toUnits(ready.group, seen, job.outcomes) };
    const refusals: WriteOutcomes = new Map();
    const part = { ...input, units: readRows(input, unread.units, refusals) };
    // An unknown member may be a column that was added a moment ago: look again before anything is refused.
    const again = refusals.size > 0 && isStale(job, part) ? await refresh(job, unread) : part;
    if (again === part) for (const [n, outcome] of refusals) job.outcomes.set(n, outcome);
    if (again !== undefined) parts.push(again);
  }
  return parts;
}

async function writeAll(job: Job, wanted: readonly Part[]): Promise<void> {
  // Groups of one table one after another, in one order for all writers.
  let parts: readonly Part[] = [...wanted].sort((a, b) =>
    tableKey(a.table) < tableKey(b.table) ? -1 : tableKey(a.table) > tableKey(b.table) ? 1 : 0,
  );
  for (let exclusions = 0; parts.length > 1; exclusions++) {
    const failed = await attempt(job.database, parts, job);
    if (failed === undefined) return;
    throwIfConnectionFault(failed);
    const { culprit } = failed;
    parts = failed.parts;
    if (culprit === undefined || exclusions >= MAX_EXCLUSIONS) break;
    parts = parts.filter((part) => part !== culprit);
    await writeOne(job, culprit, failed);
  }
  for (const part of parts) await writeOne(job, part);
}

/** A group alone; `known` is a fault it has just shown, so that it is not provoked twice. */
async function writeOne(job: Job, part: Part, known?: AttemptFailure): Promise<void> {
  const failed = known ?? (await attempt(job.database, [part], job));
  if (failed === undefined) return;
  throwIfConnectionFault(failed);
  const left = failed.parts.find((p) => p.group === part.group);
  if (left === undefined) return;
  if (isStale(job, left)) {
    const again = await refresh(job, left);
    if (again !== undefined) await writeOne(job, again);
    return;
  }
  if (failed.fault === "statement") {
    for (const unit of left.units)
      settle(
        unit,
        job.outcomes,
        unavailable(`${left.table.schema}.${left.table.table} in ${job.database.address}: ${shorten(failed.failure.message, 300)}`),
      );
    return;
  }
  const [only] = left.units;
  if (left.units.length === 1 && only !== undefined) {
    refuseUnit(only, await explainRefusal(job.database, left, { unit: only, failure: failed.failure }), job.outcomes);
    return;
  }
  const middle = left.units.length >> 1;
  await writeOne(job, { ...left, units: left.units.slice(0, middle) });
  await writeOne(job, { ...left, units: left.units.slice(middle) });
}

/** The columns were read before this call: the fault may be theirs. */
const isStale = (job: Job, part: Part): boolean => part.table.readAtMs < job.startedAtMs;

async function refresh(job: Job, part: Part): Promise<Part | undefined> {
  const name: TableName = { schema: part.table.schema, table: part.table.table };
  job.database.tables.forget(name);
  const table = (await job.database.tables.read(job.database, [name])).get(tableKey(name));
  if (table === undefined) {
    for (const unit of part.units) settle(unit, job.outcomes, unavailable(`table ${name.schema}.${name.table} is gone`));
    return undefined;
  }
  const input = { group: part.group, config: part.config, table };
  return { ...input, units: readRows(input, part.units, job.outcomes) };
}

function throwIfConnectionFault(failed: AttemptFailure): void {
  if (failed.fault === "connection") throw new OneDataError("sink.unavailable", shorten(failed.failure.message, 400));
}

function markUnavailable(group: SinkGroup, message: string, outcomes: WriteOutcomes): void {
  for (const record of group.records) if (!outcomes.has(record.n)) outcomes.set(record.n, unavailable(message));
}

function nameOf(config: PostgresSinkConfig, database: SinkDatabase): TableName {
  return { schema: config.schema ?? database.schema, table: config.table };
}
