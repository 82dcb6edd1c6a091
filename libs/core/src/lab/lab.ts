/**
 * Runs records through a plan and writes nothing: what `tests:`, previews and `onedata run` stand on.
 * The plan's sinks are replaced by one that collects; everything else is the executor that the engine uses.
 */
import { OneDataError } from "../errors/onedata-error.ts";
import type { Json } from "../json.ts";
import { ENGINE, type Plan, type StageInput } from "../plan/plan.ts";
import { canonicalJson } from "../plan/plan-pipeline.ts";
import type { TestSpec } from "../plan/spec.ts";
import { executeRun } from "../run/execute-run.ts";
import type { EventResult, RunDeps, StepObservation } from "../run/run.ts";

export type LabDeps = Pick<RunDeps, "evaluateWhen" | "monotonicMs" | "connection"> & {
  readonly apply: RunDeps["services"]["apply"];
  readonly parse: (text: string) => Json;
  readonly stringify: (value: Json) => string;
};

export type LabSubject = { readonly pipeline: string; readonly version: number; readonly tenant: string; readonly plan: Plan };

export type LabRecord = {
  readonly result: EventResult;
  /** JSON texts, by the places of the plan's sinks. */
  readonly outputs: readonly { readonly sink: number; readonly json: string }[];
  readonly steps: readonly StepObservation[];
};

/** One result per record text. Throws the fault of a service that cannot do its work. */
export async function runInLab(subject: LabSubject, records: readonly string[], timeUnixMs: number, deps: LabDeps): Promise<LabRecord[]> {
  const steps: StepObservation[][] = records.map(() => []);
  const collecting: Plan = { ...subject.plan, sinks: subject.plan.sinks.map((sink) => ({ ...sink, service: ENGINE })) };
  const encoder = new TextEncoder();
  const decoder = new TextDecoder();
  const timeUnixNanos = BigInt(Math.round(timeUnixMs)) * 1_000_000n;
  const events = records.map((record, n) => ({ source: { batchId: 0n, seq: 0n, n, generation: 0 }, json: encoder.encode(record), timeUnixNanos }));
  const { groups, fault } = await executeRun([{ ...subject, plan: collecting, events }], {
    runId: "00000000-0000-0000-0000-000000000000",
    installation: "lab",
    monotonicMs: deps.monotonicMs,
    evaluateWhen: deps.evaluateWhen,
    ...(deps.connection === undefined ? {} : { connection: deps.connection }),
    observe: (observation) => steps[observation.event]?.push(observation),
    services: {
      apply: deps.apply,
      write: () => Promise.reject(new OneDataError("internal", "the lab writes nothing")),
      // A lab run has no neighbours whose success could tell a service's fault from a record's.
      worksForOthers: () => true,
    },
  });
  // Of a connection only the fault says which one it is.
  if (fault?.code === "connection.unavailable") throw new OneDataError(fault.code, fault.message, { cause: fault });
  if (fault !== undefined) throw OneDataError.from(fault.cause ?? fault);
  const [group] = groups;
  return records.map((_, event) => ({
    result: group?.events[event] ?? { kind: "filtered", step: 0 },
    outputs: (group?.outputs ?? []).filter((output) => output.event === event).map(({ sink, json }) => ({ sink, json: decoder.decode(json) })),
    steps: steps[event] ?? [],
  }));
}

export type TestOutcome = {
  readonly name: string;
  readonly passed: boolean;
  readonly detail: string;
  readonly expected: string;
  readonly actual: string;
};

/** Runs the tests that a spec carries, at a fixed time: `$now()` is 2026-01-01T00:00:00Z in tests. */
export async function runSpecTests(subject: LabSubject, tests: readonly TestSpec[], deps: LabDeps): Promise<TestOutcome[]> {
  const outcomes: TestOutcome[] = [];
  for (const test of tests) {
    const records = await runInLab(withOneSink(subject), test.given.map(deps.stringify), TEST_TIME_MS, deps);
    outcomes.push(judge(test, records, deps));
  }
  return outcomes;
}

const TEST_TIME_MS = Date.UTC(2026, 0, 1);

/** Several sinks may read the same results: a test sees each result once, in the order of the plan. */
function withOneSink(subject: LabSubject): LabSubject {
  const [first] = subject.plan.sinks;
  if (first === undefined) return subject;
  const inputs = [...new Set<StageInput>(subject.plan.sinks.flatMap((sink) => sink.inputs))];
  return { ...subject, plan: { ...subject.plan, sinks: [{ ...first, inputs }] } };
}

function judge(test: TestSpec, records: readonly LabRecord[], deps: LabDeps): TestOutcome {
  const actual = records.flatMap((record) => record.outputs.map(({ json }) => deps.parse(json)));
  const dead = records.filter(({ result }) => result.kind === "dead");
  const texts = { expected: deps.stringify([...test.expect]), actual: deps.stringify(actual) };
  const fail = (detail: string): TestOutcome => ({ name: test.name, passed: false, detail, ...texts });
  if (dead.length !== test.dead) return fail(`${dead.length} of the given records died, ${test.dead} should${describeFirst(dead)}`);
  if (actual.length !== test.expect.length) return fail(`${actual.length} records came out, ${test.expect.length} were expected`);
  const differs = test.expect.findIndex((expected, i) => canonicalJson(expected) !== canonicalJson(actual[i] ?? null));
  if (differs >= 0)
    return fail(
      `record ${differs} differs: expected ${deps.stringify(test.expect[differs] ?? null)}, got ${deps.stringify(actual[differs] ?? null)}`,
    );
  return { name: test.name, passed: true, detail: "", expected: "", actual: "" };
}

function describeFirst(dead: readonly LabRecord[]): string {
  const [first] = dead;
  if (first?.result.kind !== "dead") return "";
  const [cause] = first.result.causes;
  return cause === undefined ? "" : `; the first in ${cause.step === "" ? cause.sink : cause.step}: ${cause.code}: ${cause.message}`;
}
