/**
 * The platform's own transform service: the operations of `libs/operations` behind the notation for teams.
 * Invariants: exactly one result per record; a config that does not compile fails its group's records, never the call; stateless but for what it compiled and
 * for rows it has just read; a connection is used for the group it came with, and a database that is away holds back that group only.
 */
import type { TransformServiceDefinition, transformV1 } from "@onedata/contracts";
import { OneDataError } from "@onedata/core";
import { type Implementation, toOperation } from "@onedata/mesh";
import { applySteps, type LookupPort, operations, type Pace, type RecordResult, type Step, StepCache, withCall } from "@onedata/operations";
import type { PostgresLookups } from "@onedata/sinks/lookup";
import { createCallPace } from "./call-pace.ts";
import { checkStep, toStepCall } from "./connected-tables.ts";
import { createTurns, type Turns } from "./turns.ts";

export type TransformDeps = {
  /** Lookup tables of one tenant. */
  readonly lookups: (tenant: string) => LookupPort;
  /** Tables of connections, which come with each call. */
  readonly databases: PostgresLookups;
  /** Gets the cause of failures whose text may not leave the process. */
  readonly onRecordError?: (cause: unknown) => void;
};

export const TRANSFORM = "transform";

/** All lookups of one call into connections' databases, well below an Apply's deadline of 10 s: the call answers, and what it did for others is kept. */
const LOOKUP_BUDGET_MS = 6_000;

export function createTransformService(deps: TransformDeps): Implementation<typeof TransformServiceDefinition> {
  const cache = new StepCache((tenant) => ({ lookups: deps.lookups(tenant) }));
  const decoder = new TextDecoder();
  const compile = ({ steps, tenant }: transformV1.ApplyGroup, call: Call): Step[] =>
    steps.map((step) => {
      const compiled = cache.get(step.operation, decoder.decode(step.configJson), tenant);
      const own = toStepCall(step.connection, deps.databases, { ...call, tenant });
      return own === undefined ? compiled : withCall(compiled, own);
    });

  return {
    describe: () => Promise.resolve({ service: TRANSFORM, version: "1", operations: operations.map(({ description }) => toOperation(description)) }),

    async apply(request, { signal }) {
      const paceOfGroup = createCallPace(signal, () => performance.now());
      const call = { signal, turns: createTurns(), lateAtMs: performance.now() + LOOKUP_BUDGET_MS };
      const results: transformV1.Result[] = [];
      const done = await Promise.all(request.groups.map((group) => call.turns.take(() => applyGroup(group, paceOfGroup(), call))));
      for (const result of done.flat()) {
        if (result.kind === "failed" && result.cause !== undefined) deps.onRecordError?.(result.cause);
        results.push(toResult(result));
      }
      return { results };
    },

    checkStep: async (request, { signal }) => ({ problems: await checkStep(request, deps.databases, signal) }),
  };

  async function applyGroup(group: transformV1.ApplyGroup, pace: Pace, call: Call): Promise<RecordResult[]> {
    try {
      const records = group.records.map(({ n, json, timeUnixNanos }) => ({ n, json, timeUnixMs: Number(timeUnixNanos / 1_000_000n) }));
      return await applySteps(compile(group, call), records, pace);
    } catch (error) {
      const known = OneDataError.from(error);
      if (known.row.retry !== "never") throw known;
      return group.records.map(({ n }) => ({ n, kind: "failed", step: 0, code: known.code, message: known.message, retryable: false }));
    }
  }
}

type Call = { readonly signal: AbortSignal; readonly turns: Turns; readonly lateAtMs: number };

const encoder = new TextEncoder();

function toResult(result: RecordResult): transformV1.Result {
  switch (result.kind) {
    case "outputs":
      return { n: result.n, outcome: { $case: "outputs", value: { json: result.outputs.map((text) => encoder.encode(text)) } } };
    case "filtered":
      return { n: result.n, outcome: { $case: "filtered", value: { step: result.step } } };
    case "failed": {
      const { step, code, message, retryable, record = "" } = result;
      return {
        n: result.n,
        outcome: { $case: "failed", value: { step, code, message, retryable, retryAfter: undefined, json: encoder.encode(record) } },
      };
    }
  }
}
