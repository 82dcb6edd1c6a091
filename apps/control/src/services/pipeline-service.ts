/**
 * PipelineService: applies, lists, activates, pauses, deletes.
 * Duty: order of the checks of an apply: text → catalogue → sinks → tests → one transaction. Non-duty: SQL, what a spec means.
 */
import { type PipelineServiceDefinition, pipelineV1, type TestResult } from "@onedata/contracts";
import { canonicalJson, OneDataError, type Violation } from "@onedata/core";
import { parseJson } from "@onedata/formats";
import type { CallContext, Implementation, ResponseInit } from "@onedata/mesh";
import type { Sql } from "@onedata/store";
import {
  activateVersion,
  applyVersion,
  discardBacklog,
  findActivePlan,
  getPipeline,
  getVersion,
  listPipelines,
  listVersions,
  markDeleting,
  type PipelineRow,
  readFigures,
  setPipelineState,
  type VersionRow,
} from "@onedata/store/control";
import type { CatalogueReader } from "../catalogue/catalogue.ts";
import { type Lab, refuseWrites, toPlan } from "../lab/lab.ts";
import { refuseDeaths, type SamplePorts, type SampleResult, sampleVersions } from "../sample/sample.ts";
import { type CheckedSpec, toJson } from "../spec/check-spec.ts";
import { diffSpecs } from "../spec/diff.ts";
import type { SpecChecker } from "../spec/spec-checker.ts";
import { fromToken, INT, storable, toActor, toLimit, toToken } from "./call.ts";
import { since } from "./waiting-for.ts";

export type PipelineServicePorts = {
  readonly sql: Sql;
  readonly checker: SpecChecker;
  readonly lab: Lab;
  readonly catalogue: CatalogueReader;
};

/** Of a call; the sweep goes on with what is left. */
const DISCARD_BUDGET_MS = 15_000;

type PipelineMessage = ResponseInit<(typeof PipelineServiceDefinition)["methods"]["getPipeline"]>;

export function createPipelineService({ sql, checker, lab, catalogue }: PipelineServicePorts): Implementation<typeof PipelineServiceDefinition> {
  return {
    async applyPipeline(request, context) {
      const { tenantId } = context;
      const checked = await checker.check(tenantId, request, context.signal);
      const tests = await runTests(lab, checked, context);
      const plan = canonicalJson(toJson(checked.plan));
      const sampled = await trySample({ sql, lab, catalogue }, checked, { plan, context });
      const refusal = sampled === undefined ? undefined : refuseDeaths(request.pipeline, sampled, context.scopes.has("events:read"));
      const isRisk = (request.activate ?? true) && !request.force;
      if (refusal !== undefined && isRisk && !request.dryRun) throw refusal;
      const applied = await applyVersion(sql, tenantId, toActor(context), {
        name: request.pipeline,
        hash: checked.hash,
        spec: checked.specJson,
        plan: checked.planJson,
        route: checked.plan.route,
        ordering: checked.spec.input.ordering,
        activate: request.activate ?? true,
        ifMatch: request.ifMatch,
        dryRun: request.dryRun,
        isSamePlan: (stored) => canonicalJson(parseJson(stored)) === plan,
      });
      return {
        pipeline: toPipeline(applied.pipeline),
        version: applied.version,
        created: applied.created,
        diff: applied.previousSpec === undefined ? [] : diffSpecs(parseJson(applied.previousSpec), checked.value),
        tests,
        warnings: [...(isRisk ? (refusal?.violations ?? []) : []), ...checked.warnings].map((warning) => pipelineV1.Problem.fromPartial(warning)),
        dryRun: request.dryRun,
        sample: sampled?.sample,
      };
    },
    getPipeline: async ({ pipeline }, { tenantId }) => toPipeline(await getPipeline(sql, tenantId, pipeline)),
    async listPipelines({ pageSize, pageToken }, { tenantId }) {
      const limit = toLimit(pageSize);
      const rows = await listPipelines(sql, tenantId, { limit: limit + 1, after: fromToken(pageToken, /^([a-z0-9_-]+)$/)?.[0] ?? "" });
      const page = rows.slice(0, limit);
      return { pipelines: page.map(toPipeline), nextPageToken: rows.length > limit ? toToken(page.at(-1)?.name ?? "") : "" };
    },
    async deletePipeline({ pipeline, discard }, context) {
      const row = await markDeleting(sql, context.tenantId, toActor(context), { name: pipeline, discard });
      return toPipeline(row);
    },
    async listVersions({ pipeline, pageSize, pageToken }, { tenantId }) {
      const limit = toLimit(pageSize);
      const before = fromToken(pageToken, new RegExp(`^${INT}$`))?.[0];
      const rows = await listVersions(sql, tenantId, { name: pipeline, limit: limit + 1, before: before === undefined ? undefined : Number(before) });
      const page = rows.slice(0, limit);
      return { versions: page.map((row) => toVersion(row, "")), nextPageToken: rows.length > limit ? toToken(page.at(-1)?.version ?? 0) : "" };
    },
    async getVersion({ pipeline, version }, { tenantId }) {
      const row = await getVersion(sql, tenantId, pipeline, version);
      return toVersion(row, row.spec);
    },
    activateVersion: async ({ pipeline, version }, context) =>
      toPipeline(await activateVersion(sql, context.tenantId, toActor(context), { name: pipeline, version })),
    pausePipeline: async ({ pipeline, reason }, context) =>
      toPipeline(await setPipelineState(sql, context.tenantId, toActor(context), { name: pipeline, state: "paused", reason: storable(reason) })),
    resumePipeline: async ({ pipeline }, context) =>
      toPipeline(await setPipelineState(sql, context.tenantId, toActor(context), { name: pipeline, state: "running", reason: "" })),
    async discardBacklog({ pipeline, reason }, context) {
      return {
        events: await discardBacklog(sql, context.tenantId, toActor(context), {
          name: pipeline,
          reason: storable(reason),
          code: "pipeline.discarded",
          budgetMs: DISCARD_BUDGET_MS,
        }),
      };
    },
    async getStats({ pipeline }, { tenantId }) {
      return readFigures(sql, tenantId, pipeline);
    },
  };
}

/** Throws `pipeline.tests_failed` when a test does not hold, `service.unavailable` when they cannot be run. */
async function runTests(lab: Lab, checked: CheckedSpec, { tenantId, signal }: CallContext): Promise<TestResult[]> {
  if (checked.spec.tests.length === 0) return [];
  const refused = refuseWrites(checked.spec, checked.catalogue);
  if (refused.length > 0)
    throw new OneDataError("pipeline.tests_failed", `the tests of ${JSON.stringify(checked.spec.name)} cannot be run: ${refused[0]?.detail ?? ""}`, {
      violations: refused,
    });
  try {
    const tests = await lab.test(tenantId, checked, signal);
    const failed = tests.flatMap((test, i): Violation[] =>
      test.passed ? [] : [{ pointer: `/tests/${i}`, code: "spec.test_failed", detail: describeFailure(test) }],
    );
    if (failed.length === 0) return tests;
    throw new OneDataError(
      "pipeline.tests_failed",
      `${failed.length} of the ${tests.length} tests of ${JSON.stringify(checked.spec.name)} fail; the first: ${failed[0]?.detail ?? ""}`,
      { violations: failed },
    );
  } catch (error) {
    const known = OneDataError.from(error);
    if (known.row.grpc !== "UNAVAILABLE" && known.row.grpc !== "DEADLINE_EXCEEDED") throw known;
    throw new OneDataError(
      "service.unavailable",
      `the spec's tests cannot be run now, so nothing was stored: ${known.message}. Try again, or apply the spec without tests`,
      { cause: error, retryAfterSeconds: 2 },
    );
  }
}

/** Nothing for the first version, nor while no other version is active than one that runs the same. */
async function trySample(
  ports: SamplePorts,
  checked: CheckedSpec,
  { plan, context }: { readonly plan: string; readonly context: CallContext },
): Promise<SampleResult | undefined> {
  const { tenantId, scopes, signal } = context;
  const pipeline = checked.spec.name;
  const active = await findActivePlan(ports.sql, tenantId, pipeline);
  if (active === undefined || canonicalJson(parseJson(active)) === plan) return undefined;
  return sampleVersions(ports, tenantId, { pipeline, before: toPlan(active), after: checked.plan, mayReadEvents: scopes.has("events:read"), signal });
}

const cut = (text: string): string => (text.length > 400 ? `${text.slice(0, 400)}…` : text);

const describeFailure = (test: TestResult): string =>
  `${JSON.stringify(test.name)}: ${test.detail}${test.expected === "" ? "" : `; expected ${cut(test.expected)}`}${test.actual === "" ? "" : `, got ${cut(test.actual)}`}`;

function toPipeline(row: PipelineRow): PipelineMessage {
  return {
    name: row.name,
    state: row.state,
    reason: describeState(row),
    activeVersion: row.activeVersion ?? 0,
    ordering: row.ordering ?? "",
    etag: row.etag,
    createdAt: row.createdAt,
    updatedAt: row.updatedAt,
    description: row.description ?? "",
    sinks: [...row.sinks],
  };
}

function describeState(row: PipelineRow): string {
  const by = row.stateChangedBy === undefined ? "" : ` by ${row.stateChangedBy}`;
  if (row.state === "paused") return `paused${by} ${since(row.stateChangedAt, new Date())}${row.reason === undefined ? "" : `: ${row.reason}`}`;
  if (row.state === "deleting")
    return `being deleted${by} ${since(row.stateChangedAt, new Date())}; ${row.reason === "discard" ? "its backlog becomes dead letters" : "its backlog drains"}`;
  return "";
}

const toVersion = (row: VersionRow, spec: string): ResponseInit<(typeof PipelineServiceDefinition)["methods"]["getVersion"]> => ({
  version: row.version,
  hash: row.hash,
  active: row.active,
  createdAt: row.createdAt,
  createdBy: row.createdBy ?? "",
  spec,
});
