/**
 * The platform's own transform service: the operations of `libs/operations` behind the notation for teams.
 * Invariants: exactly one result per record; a config that does not compile fails its group's records, never the call; stateless but for what it compiled.
 */
import type { TransformServiceDefinition, transformV1 } from "@onedata/contracts";
import { OneDataError } from "@onedata/core";
import { type Implementation, toOperation } from "@onedata/mesh";
import { applySteps, type LookupPort, operations, type Pace, type RecordResult, type Step, StepCache } from "@onedata/operations";
import { createCallPace } from "./call-pace.ts";

export type TransformDeps = {
  /** Lookup tables of one tenant. */
  readonly lookups: (tenant: string) => LookupPort;
  /** Gets the cause of failures whose text may not leave the process. */
  readonly onRecordError?: (cause: unknown) => void;
};

export const TRANSFORM = "transform";

export function createTransformService(deps: TransformDeps): Implementation<typeof TransformServiceDefinition> {
  const cache = new StepCache((tenant) => ({ lookups: deps.lookups(tenant) }));
  const decoder = new TextDecoder();
  const compile = (group: transformV1.ApplyGroup): Step[] =>
    group.steps.map((step) => cache.get(step.operation, decoder.decode(step.configJson), group.tenant));

  return {
    describe: () => Promise.resolve({ service: TRANSFORM, version: "1", operations: operations.map(({ description }) => toOperation(description)) }),

    async apply(request, { signal }) {
      const paceOfGroup = createCallPace(signal, () => performance.now());
      const results: transformV1.Result[] = [];
      for (const group of request.groups) {
        for (const result of await applyGroup(group, paceOfGroup())) {
          if (result.kind === "failed" && result.cause !== undefined) deps.onRecordError?.(result.cause);
          results.push(toResult(result));
        }
      }
      return { results };
    },
  };

  async function applyGroup(group: transformV1.ApplyGroup, pace: Pace): Promise<RecordResult[]> {
    try {
      const records = group.records.map(({ n, json, timeUnixNanos }) => ({ n, json, timeUnixMs: Number(timeUnixNanos / 1_000_000n) }));
      return await applySteps(compile(group), records, pace);
    } catch (error) {
      const known = OneDataError.from(error);
      if (known.row.retry !== "never") throw known;
      return group.records.map(({ n }) => ({ n, kind: "failed", step: 0, code: known.code, message: known.message, retryable: false }));
    }
  }
}

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
