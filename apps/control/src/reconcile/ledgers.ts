/**
 * The deep look: what engines noted as delivered against the ledgers in the sinks' own databases, both ways.
 * Non-duty: mending. What differs was lost or doubled outside of the product's rules: by hand, by a restore of one of the two, or by a bug.
 */
import { formatEventId, isJsonObject, type Json, OneDataError } from "@onedata/core";
import { parseJson } from "@onedata/formats";
import { createLedgerAudit, type LedgerAudit } from "@onedata/sinks";
import {
  type DeliveredSample,
  type Finding,
  findUnknownEffects,
  ledgerWindowStart,
  readInstallationId,
  type Sql,
  sampleDelivered,
} from "@onedata/store";
import { connectionForRun, type SecretBox } from "@onedata/store/control";

type Problem = { readonly example: string; readonly what: string };

const LEDGER_ROWS = 500;
const EXAMPLES = 5;
const BUDGET_MS = 40_000;

export type LedgerPorts = {
  readonly sql: Sql;
  readonly box: SecretBox;
  /** Where tenants' databases may be, beside the public internet; absent = anywhere. */
  readonly allowedDatabaseAddresses?: readonly string[] | undefined;
};

export async function lookAtLedgers({ sql, box, allowedDatabaseAddresses }: LedgerPorts, signal: AbortSignal): Promise<readonly Finding[]> {
  const startedAt = performance.now();
  await using audit = createLedgerAudit(allowedDatabaseAddresses === undefined ? {} : { allowedAddresses: allowedDatabaseAddresses });
  const context = { sql, box, audit, installation: await readInstallationId(sql), from: await ledgerWindowStart(sql) };
  const seen: { missing: Problem[]; unknown: Problem[]; unreadable: Problem[]; connections: number; events: number } = {
    missing: [],
    unknown: [],
    unreadable: [],
    connections: 0,
    events: 0,
  };
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(BUDGET_MS)]);
  for (const samples of byConnection(await sampleDelivered(sql))) {
    const [first] = samples;
    if (first === undefined) continue;
    seen.connections += 1;
    seen.events += samples.flatMap(({ batches }) => batches).reduce((sum, { ordinals }) => sum + ordinals.length, 0);
    try {
      const { missing, unknown } = await compare(samples, first, { ...context, signal: bounded });
      seen.missing.push(...missing);
      seen.unknown.push(...unknown);
    } catch (error) {
      if (signal.aborted) throw error;
      seen.unreadable.push({ example: first.connection, what: OneDataError.from(error).message });
    }
  }
  const tookMs = performance.now() - startedAt;
  const looked = `${seen.connections} connections and ${seen.events} delivered events looked at`;
  return [
    toFinding("ledger.missing_effects", "failed", seen.missing, {
      ok: `the ledgers have what was delivered: ${looked}`,
      bad: `${seen.missing.length} batches were delivered and are not in the sink's ledger: the sink's database was set back, or its ledger was cleared`,
      advice: "compare the sink's rows with these events; bring them back with a backfill of that time (onedata backfill)",
      tookMs,
    }),
    toFinding("ledger.unknown_effects", "failed", seen.unknown, {
      ok: `every effect in the ledgers is known here: ${looked}`,
      bad: `${seen.unknown.length} batches are in a sink's ledger and have no verdict here: the platform's database was set back`,
      advice:
        "after a restore clients send again what was lost, under the same idempotency keys; sinks may hold rows of events that are not known here any more",
      tookMs,
    }),
    toFinding("ledger.unreadable", "warning", seen.unreadable, {
      ok: `every ledger can be read: ${looked}`,
      bad: `the ledgers of ${seen.unreadable.length} connections cannot be read: ${seen.unreadable[0]?.what ?? ""}`,
      advice: "try the connection: onedata connections test <connection>; control must reach it too",
      tookMs,
    }),
  ];
}

type Context = {
  readonly sql: Sql;
  readonly box: SecretBox;
  readonly audit: LedgerAudit;
  readonly installation: string;
  readonly from: bigint;
  readonly signal: AbortSignal;
};

async function compare(
  samples: readonly DeliveredSample[],
  { tenantId, connection: name }: DeliveredSample,
  { sql, box, audit, installation, from, signal }: Context,
): Promise<{ missing: Problem[]; unknown: Problem[] }> {
  const stored = await connectionForRun(sql, tenantId, name, box);
  const config: Json = parseJson(stored.configJson);
  const connection = { name, kind: stored.kind, config: isJsonObject(config) ? config : {} };
  const question = { tenant: String(tenantId), installation, signal };
  const wanted = samples.flatMap(({ pipeline, sinks, batches }) => batches.flatMap((batch) => sinks.map((sink) => ({ pipeline, sink, ...batch }))));
  const done = await audit.readDone(connection, { ...question, keys: wanted });
  const missing = wanted.flatMap(({ batchId, generation, sink, ordinals, pipeline }): Problem[] => {
    const has = done.get(`${batchId}/${generation}/${sink}`);
    const n = ordinals.find((ordinal) => has?.has(ordinal) !== true);
    return n === undefined ? [] : [{ example: formatEventId({ batchId, n }), what: `${pipeline}, sink ${sink}` }];
  });
  const rows = await audit.readRecent(connection, { ...question, fromBatchId: from, limit: LEDGER_ROWS });
  const strangers = await findUnknownEffects(
    sql,
    tenantId,
    rows.map(({ batchId, done: ordinals }) => ({ batchId, ordinals })),
  );
  return { missing, unknown: strangers.map((batchId) => ({ example: formatEventId({ batchId, n: 0 }), what: name })) };
}

function byConnection(samples: readonly DeliveredSample[]): readonly (readonly DeliveredSample[])[] {
  const groups = new Map<string, DeliveredSample[]>();
  for (const sample of samples) {
    const key = `${sample.tenantId} ${sample.connection}`;
    groups.set(key, [...(groups.get(key) ?? []), sample]);
  }
  return [...groups.values()];
}

function toFinding(
  check: string,
  state: "warning" | "failed",
  problems: readonly Problem[],
  { ok, bad, advice, tookMs }: { ok: string; bad: string; advice: string; tookMs: number },
): Finding {
  if (problems.length === 0) return { check, state: "ok", count: 0, detail: ok, advice: "", examples: [], tookMs };
  return { check, state, count: problems.length, detail: bad, advice, examples: problems.slice(0, EXAMPLES).map(({ example }) => example), tookMs };
}
