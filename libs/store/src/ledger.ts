/**
 * The sink ledger: effect-once for Postgres sinks, in any database.
 *
 * One row per (installation, source batch, generation, sink) with the input ordinals whose effects are in, written FIRST in the sink's own transaction.
 * Invariants:
 * 1. Rows are written sorted, so two runs never wait for each other in a circle.
 * 2. A row that does not come back overlaps with what is done already: roll back, read, write only what is missing.
 *    (Ranges per attempt without this exclusion would let a stalled engine and its successor both write.)
 * 3. Filtered ordinals count as done; dead and waiting ones stay out; all outputs of one ordinal go in one transaction.
 * 4. The sink's session has synchronous_commit on.
 */
import type { Sql, Transaction } from "./connection.ts";

export const LEDGER_DDL = `create table if not exists onedata_applied (
  installation uuid not null,
  batch_id bigint not null,
  generation int not null,
  sink text not null,
  done int4multirange not null,
  updated_at timestamptz not null default now(),
  primary key (installation, batch_id, generation, sink)
)`;

/** Installation, source batch, generation and sink name a row; the sink's name carries the pipeline, so two pipelines never share one. */
export type LedgerClaim = { readonly batchId: bigint; readonly generation: number; readonly sink: string; readonly ordinals: readonly number[] };

/** What the ledger functions need of a `postgres` client or transaction. */
export type LedgerSql = Pick<Sql | Transaction, "unsafe">;

/** Makes the table; where the sink's user may not, the error goes to whoever applies the spec, with `LEDGER_DDL` for a DBA. */
export async function ensureLedger(sql: LedgerSql): Promise<void> {
  await sql.unsafe(LEDGER_DDL);
}

/** `{[0,3),[7,8)}` of sorted or unsorted ordinals. */
export function toMultirange(ordinals: readonly number[]): string {
  const sorted = [...new Set(ordinals)].sort((a, b) => a - b);
  const ranges: string[] = [];
  for (let i = 0; i < sorted.length; i++) {
    const from = sorted[i] ?? 0;
    let to = from + 1;
    while (sorted[i + 1] === to) {
      to += 1;
      i += 1;
    }
    ranges.push(`[${from},${to})`);
  }
  return `{${ranges.join(",")}}`;
}

const keyOf = ({ batchId, generation, sink }: Omit<LedgerClaim, "ordinals">): string => `${batchId}/${generation}/${sink}`;

const CLAIM_RANGES = `
insert into onedata_applied as a (installation, batch_id, generation, sink, done)
select $1::uuid, c.batch_id, c.generation, c.sink, c.done::int4multirange
  from unnest($2::bigint[], $3::int[], $4::text[], $5::text[]) c(batch_id, generation, sink, done) order by c.batch_id, c.generation, c.sink
on conflict (installation, batch_id, generation, sink)
  do update set done = a.done + excluded.done, updated_at = now() where not a.done && excluded.done
returning batch_id, generation, sink`;

/**
 * The first statement of a sink transaction. Returns the claims that overlap with what is done: if there are any, roll back, `readLedger`, and try with
 * what is missing. Waits for a concurrent transaction on the same row, and then sees its result.
 */
export async function claimLedger(transaction: LedgerSql, installation: string, claims: readonly LedgerClaim[]): Promise<readonly LedgerClaim[]> {
  const wanted = claims.filter(({ ordinals }) => ordinals.length > 0);
  if (wanted.length === 0) return [];
  const rows: readonly { batch_id: unknown; generation: unknown; sink: unknown }[] = await transaction.unsafe(
    CLAIM_RANGES,
    toParameters(installation, wanted),
    { prepare: true },
  );
  const given = new Set(rows.map((row) => `${String(row.batch_id)}/${String(row.generation)}/${String(row.sink)}`));
  return wanted.filter((claim) => !given.has(keyOf(claim)));
}

const READ = `
select c.o::int as o, coalesce((select array_agg(x.i) from unnest(c.ordinals::int[]) x(i) where a.done @> x.i), '{}')::text as done
  from unnest($2::bigint[], $3::int[], $4::text[], $5::text[]) with ordinality c(batch_id, generation, sink, ordinals, o)
  join onedata_applied a on a.installation = $1::uuid and a.batch_id = c.batch_id and a.generation = c.generation and a.sink = c.sink`;

/** Per claim, in order: which of its ordinals are not done yet. */
export async function readLedger(sql: LedgerSql, installation: string, claims: readonly LedgerClaim[]): Promise<readonly LedgerClaim[]> {
  if (claims.length === 0) return [];
  const parameters = toParameters(installation, claims, (ordinals) => `{${ordinals.join(",")}}`);
  const rows: readonly { o: unknown; done: unknown }[] = await sql.unsafe(READ, parameters, { prepare: true });
  const done = new Map(
    rows.map((row) => [
      Number(row.o) - 1,
      new Set(
        String(row.done)
          .slice(1, -1)
          .split(",")
          .filter((text) => text !== "")
          .map(Number),
      ),
    ]),
  );
  return claims.map((claim, i) => ({ ...claim, ordinals: claim.ordinals.filter((ordinal) => done.get(i)?.has(ordinal) !== true) }));
}

function toParameters(
  installation: string,
  claims: readonly LedgerClaim[],
  format: (ordinals: readonly number[]) => string = toMultirange,
): string[] {
  const quoted = (values: readonly string[]): string => `{${values.map((value) => `"${value.replace(/["\\]/g, "\\$&")}"`).join(",")}}`;
  return [
    installation,
    `{${claims.map(({ batchId }) => batchId).join(",")}}`,
    `{${claims.map(({ generation }) => generation).join(",")}}`,
    quoted(claims.map(({ sink }) => sink)),
    quoted(claims.map(({ ordinals }) => format(ordinals))),
  ];
}
