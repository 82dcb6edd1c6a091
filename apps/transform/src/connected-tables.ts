/**
 * Tables of tenants' connections, for the steps of one call: what a step may look into is what the call brought, and nothing else.
 * Non-duty: the databases themselves (`@onedata/sinks/lookup`).
 */
import type { transformV1 } from "@onedata/contracts";
import { isJsonObject, type Json, OneDataError, toPointer } from "@onedata/core";
import { parseJson } from "@onedata/formats";
import { type StepCall, toLookupTable } from "@onedata/operations";
import type { LookupCaller, LookupProblem, PostgresLookups } from "@onedata/sinks/lookup";
import type { Turns } from "./turns.ts";

type Call = {
  readonly tenant: string;
  readonly signal: AbortSignal;
  readonly turns: Turns;
  /** When the call should have no more waits for databases before it; monotonic. */
  readonly lateAtMs: number;
};

/** What a lookup gets all the same when the call is late. */
const MIN_BUDGET_MS = 500;

/** `undefined` for a step that came without a connection. */
export function toStepCall(
  connection: transformV1.Connection | undefined,
  databases: PostgresLookups,
  { tenant, signal, turns, lateAtMs }: Call,
): StepCall | undefined {
  if (connection === undefined) return undefined;
  const budgetMs = (): number => Math.max(MIN_BUDGET_MS, lateAtMs - performance.now());
  return {
    tables: { find: (query) => turns.pause(async () => databases.find({ ...toCaller(connection, tenant, signal), budgetMs: budgetMs() }, query)) },
  };
}

/** What is wrong with a step's table, and what makes it slow; nothing for steps that look into none. */
export async function checkStep(
  request: transformV1.CheckStepRequest,
  databases: PostgresLookups,
  signal: AbortSignal,
): Promise<transformV1.StepProblem[]> {
  const config = readJson(request.configJson);
  const table = toLookupTable(request.operation, config);
  if (table === undefined) return [];
  if (request.connection === undefined)
    return [{ pointer: "/connection", code: "connection.not_found", detail: "the step came without its connection", warning: false }];
  const problems = await databases.check(toCaller(request.connection, request.tenant, signal), table);
  return problems.map((problem) => ({ pointer: pointerOf(problem, config), code: problem.code, detail: problem.detail, warning: problem.isWarning }));
}

function pointerOf({ member, column }: LookupProblem, config: Json): string {
  if (!isJsonObject(config)) return "";
  if (member === "column" && config["column"] === undefined) return toPointer(["on"]);
  if (member !== "take" || column === undefined) return toPointer([member]);
  const { take } = config;
  return toPointer(["take", Array.isArray(take) ? take.indexOf(column) : column]);
}

/** The text of a connection is not shown: it may hold secrets. */
function toCaller({ name, kind, configJson }: transformV1.Connection, tenant: string, signal: AbortSignal): LookupCaller {
  const config = readJson(configJson);
  if (!isJsonObject(config)) throw new OneDataError("connection.unavailable", `the connection ${JSON.stringify(name)} is not a JSON object`);
  return { tenant, connection: { name, kind, config }, signal };
}

function readJson(bytes: Uint8Array): Json {
  try {
    return parseJson(new TextDecoder().decode(bytes));
  } catch {
    return null;
  }
}
