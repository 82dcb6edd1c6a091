/**
 * One sink transaction: the ledger first, then the rows of every part, pipelined, one commit.
 *
 * Invariants:
 * 1. Either all of it is committed or nothing: a ledger row that does not merge, a refused row, a lost connection roll everything back.
 * 2. Races lost to other writers are retried here, free of cost. What is known to be done is left out, never written again.
 * 3. A lost answer to COMMIT is a connection fault: the caller tries again and the ledger tells what was done.
 * 4. Parts of one table and key share their statements (200 pipelines into one table: one statement, not 200). When a shared one fails, each part has its own
 *    in the next try, so that the fault names its part.
 */
import { getDefaultHighWaterMark } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { OneDataError } from "@onedata/core";
import type { WriteContext, WriteOutcomes } from "../sink.ts";
import { WRITTEN } from "../sink.ts";
import { inTransaction, throwIfAborted } from "./clients.ts";
import { type LedgerKey, ledgerDdl, ledgerName, mergeLedger, readLedger } from "./ledger.ts";
import type { SinkDatabase } from "./pools.ts";
import { classify, type FaultClass, type SqlFailure, toSqlFailure } from "./sqlstate.ts";
import { type Statement, toStatements } from "./statements.ts";
import { tableKey } from "./tables.ts";
import { type Part, rowsOf, settle, toLedgerEntries, withoutDone } from "./units.ts";

export type AttemptFailure = {
  readonly fault: Exclude<FaultClass, "retry">;
  readonly failure: SqlFailure;
  /** What was still to be written. */
  readonly parts: readonly Part[];
  /** The part whose statement failed, where that is known. */
  readonly culprit: Part | undefined;
};

const MAX_RACES = 20;

/** The first statement to fail: the ledger's, or that of some parts. */
type Failed = { at: "ledger" | readonly Part[] | undefined; error: unknown };

/**
 * How much goes to the driver at once. Beyond 100 statements, or a full socket buffer, it sends the rest one per round trip
 * (200 statements at 10 ms away: 1,650 ms; in bursts 330); so a burst stays below both, and the next follows when it is answered.
 */
const BURST_STATEMENTS = 90;
const BURST_BYTES = getDefaultHighWaterMark(false);
const STATEMENT_OVERHEAD_BYTES = 60;

class LedgerConflict extends Error {}

/** `undefined` = committed, with the outcome of every record set. Throws `aborted`. */
export async function attempt(
  database: SinkDatabase,
  wanted: readonly Part[],
  { context, outcomes }: { context: WriteContext; outcomes: WriteOutcomes },
): Promise<AttemptFailure | undefined> {
  let parts: readonly Part[] = wanted.filter((part) => part.units.length > 0);
  let ledgerMade = false;
  let shared = true;
  for (let race = 0; parts.length > 0; race++) {
    throwIfAborted(context.signal);
    const failed: Failed = { at: undefined, error: undefined };
    try {
      await transact(database, parts, { context, failed, shared });
      for (const part of parts) for (const unit of part.units) settle(unit, outcomes, WRITTEN);
      return undefined;
    } catch (error) {
      if (context.signal.aborted)
        throw new OneDataError("aborted", "the write was cancelled; what it had committed stands in the ledger", { cause: error });
      if (error instanceof LedgerConflict) {
        // The row that kept us out is committed, so each round finds something done, or a writer that is faster still.
        const keys: LedgerKey[] = toLedgerEntries(parts).map(({ batchId, generation, sink }) => ({ batchId, generation, sink }));
        try {
          parts = withoutDone(parts, await readLedger(database, database.schema, { installation: context.installation, keys }), outcomes);
        } catch (cause) {
          return { fault: "connection", failure: toSqlFailure(cause), parts, culprit: undefined };
        }
        if (race < MAX_RACES) continue;
      }
      const failure = toSqlFailure(error);
      if (failed.at === "ledger" && failure.code === "42P01" && !ledgerMade) {
        ledgerMade = true;
        const refusal = await makeLedger(database);
        if (refusal === undefined) continue;
        return { fault: "connection", failure: refusal, parts, culprit: undefined };
      }
      const fault = failed.at === "ledger" && classify(failure) !== "retry" ? "connection" : classify(failure);
      if (fault === "retry" && race < MAX_RACES) {
        await sleep(Math.random() * 10 * Math.min(race + 1, 10));
        continue;
      }
      const guilty = typeof failed.at === "object" ? failed.at : [];
      if (guilty.length > 1 && fault !== "connection") {
        shared = false;
        continue;
      }
      return { fault: fault === "retry" ? "statement" : fault, failure, parts, culprit: guilty[0] };
    }
  }
  return undefined;
}

async function transact(
  database: SinkDatabase,
  parts: readonly Part[],
  { context, failed, shared }: { context: WriteContext; failed: Failed; shared: boolean },
): Promise<void> {
  const statements = toShared(parts, shared);
  await inTransaction(database, async () => {
    const ledger = mergeLedger(database, database.schema, { installation: context.installation, entries: toLedgerEntries(parts) }).catch(
      note(failed, "ledger"),
    );
    ledger.catch(() => undefined); // looked at below
    // Rows are sent without waiting for the ledger's answer: it costs a round trip less, and a conflict rolls them back.
    const burst: Promise<void>[] = [];
    let bytes = BURST_BYTES / 2; // the ledger's own
    for (const { of, statement } of statements) {
      if (burst.length > 0 && (burst.length >= BURST_STATEMENTS || bytes + statement.parameter.length > BURST_BYTES)) {
        await Promise.allSettled(burst.splice(0));
        if (failed.at !== undefined) break;
        bytes = 0;
      }
      bytes += statement.parameter.length + STATEMENT_OVERHEAD_BYTES;
      const sent = database.query(statement.text, [statement.parameter]).then(() => undefined, note(failed, of));
      sent.catch(() => undefined); // looked at below
      burst.push(sent);
    }
    await Promise.allSettled(burst);
    // The ledger's word comes before any row's error: rows that are there already may well collide with themselves.
    if (!(await ledger)) throw new LedgerConflict();
    if (failed.error !== undefined) throw failed.error;
    throwIfAborted(context.signal);
  });
}

/** Statements in the order of the parts, each with the parts whose rows it holds. */
function toShared(parts: readonly Part[], shared: boolean): readonly { readonly of: readonly Part[]; readonly statement: Statement }[] {
  const groups = new Map<string | Part, { readonly of: Part[]; readonly first: Part }>();
  for (const part of parts) {
    if (part.units.every((unit) => unit.rows.length === 0)) continue;
    const { key, newerWins } = part.config;
    const id = shared ? JSON.stringify([tableKey(part.table), key ?? null, newerWins ?? null]) : part;
    const group = groups.get(id);
    if (group === undefined) groups.set(id, { of: [part], first: part });
    else group.of.push(part);
  }
  return [...groups.values()].flatMap(({ of, first }) =>
    toStatements(first.config, first.table, of.flatMap(rowsOf)).map((statement) => ({ of, statement })),
  );
}

/** Statements fail in the order they were sent, so the first to fail is the culprit; the others only say that the transaction is over. */
function note(failed: Failed, at: "ledger" | readonly Part[] | undefined): (error: unknown) => never {
  return (error) => {
    if (failed.at === undefined) Object.assign(failed, { at, error });
    throw error;
  };
}

/** Made at first use. Answers what failed, with the statement for a DBA where a right is missing. */
export async function makeLedger(database: Pick<SinkDatabase, "query" | "isAlive" | "schema">): Promise<SqlFailure | undefined> {
  try {
    await inTransaction(database, async () => {
      // `if not exists` alone still collides when two sessions make it at once.
      await database.query("select pg_advisory_xact_lock(hashtext('onedata_applied'))");
      await database.query(ledgerDdl(database.schema));
    });
    return undefined;
  } catch (error) {
    const failure = toSqlFailure(error);
    return {
      ...failure,
      message: `cannot make ${ledgerName(database.schema)} (${failure.message}); let a DBA run: ${ledgerDdl(database.schema).replace(/\s+/g, " ")}`,
    };
  }
}
