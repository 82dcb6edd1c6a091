/**
 * LabService: runs specs and versions over records without writing anything.
 * Served by control, not by the engine: a preview's load never stands between events and their sinks; both share the executor of `core`.
 * Refuses steps with write effects. Non-duty: checking the sinks against the outside world (an apply does).
 */
import type { LabServiceDefinition, labV1, transformV1 } from "@onedata/contracts";
import { type CatalogueEntry, type LabDeps, type LabRecord, type LabSubject, OneDataError, planPipeline, readSpec, runInLab, runSpecTests, type TenantId } from "@onedata/core";
import { parseJson, stringifyJson } from "@onedata/formats";
import type { CallContext, Implementation } from "@onedata/mesh";
import { createEvaluateWhen } from "@onedata/operations";
import type { Sql } from "@onedata/store";
import { getPipeline, getVersion, readRecentPayloads, readVariables } from "@onedata/store/control";
import { createHash } from "node:crypto";
import type { CatalogueReader } from "../catalogue/catalogue.ts";
import { type CheckedSpec, checkSpec } from "../spec/check-spec.ts";

export type LabServicePorts = {
  readonly sql: Sql;
  readonly catalogue: CatalogueReader;
  readonly apply: (service: string, request: transformV1.ApplyRequest, signal: AbortSignal) => Promise<transformV1.ApplyResponse>;
  readonly nowMs: () => number;
};

const DEFAULT_LAST = 10;

export function createLabService({ sql, catalogue, apply, nowMs }: LabServicePorts): Implementation<typeof LabServiceDefinition> {
  const evaluateWhen = createEvaluateWhen();
  const depsOf = (signal: AbortSignal): LabDeps => ({
    evaluateWhen, monotonicMs: () => performance.now(), parse: parseJson, stringify: stringifyJson, apply: (service, request) => apply(service, request, signal),
  });

  /** The spec of the document, or of the stored version; planned step by step so that previews see every one. */
  const prepare = async (request: { pipeline: string; document: string; version: number }, { tenantId }: CallContext): Promise<{ checked: CheckedSpec; subject: LabSubject }> => {
    const document = request.document === "" ? await storedSpec(sql, tenantId, request) : request.document;
    const checked = await checkSpec(
      { pipeline: request.pipeline, document, mediaType: looksLikeJson(document) ? "application/json" : "application/yaml" },
      {
        variables: await readVariables(sql, tenantId),
        catalogue: (wanted) => catalogue.read(wanted),
        unreachable: () => [...catalogue.unreachable.keys()],
        isConnection: () => Promise.resolve(true),
        checkSink: () => Promise.resolve([]),
      },
    );
    const entries = await catalogue.read();
    refuseWrites(checked, (operation) => entries.get(operation));
    const { spec } = readSpec(checked.value);
    const { plan = checked.plan } = spec === undefined ? {} : planPipeline(spec, entries, { hash: (text) => createHash("sha256").update(text).digest("hex"), fuse: false });
    return { checked, subject: { pipeline: request.pipeline, version: request.version, tenant: String(tenantId), plan } };
  };

  return {
    async testPipeline(request, context) {
      const { checked, subject } = await prepare(request, context);
      const tests = await runSpecTests(subject, checked.spec.tests, depsOf(context.signal));
      return { tests: tests.map((test) => ({ ...test })), passed: tests.every((test) => test.passed) };
    },
    async previewPipeline(request, context) {
      const { subject } = await prepare(request, context);
      const records = request.records.length > 0 ? request.records : await readRecentPayloads(sql, context.tenantId, { name: request.pipeline, limit: request.last === 0 ? DEFAULT_LAST : request.last });
      for (const [i, record] of records.entries()) assertJson(record, i);
      const results = await runInLab(subject, records, nowMs(), depsOf(context.signal));
      return { records: results.map((result, i) => toPreview(records[i] ?? "", result, subject)) };
    },
  };
}

async function storedSpec(sql: Sql, tenantId: TenantId, { pipeline, version }: { pipeline: string; version: number }): Promise<string> {
  const wanted = version === 0 ? (await getPipeline(sql, tenantId, pipeline)).activeVersion : version;
  if (wanted === undefined) throw new OneDataError("version.not_found", `${JSON.stringify(pipeline)} has no active version; send a document or name a version`);
  return (await getVersion(sql, tenantId, pipeline, wanted)).spec;
}

const looksLikeJson = (text: string): boolean => /^\s*\{/.test(text);

function refuseWrites(checked: CheckedSpec, entryOf: (operation: string) => CatalogueEntry | undefined): void {
  const violations = checked.spec.steps.flatMap((step, i) =>
    entryOf(step.use)?.description.effects === "write"
      ? [{ pointer: `/steps/${i}/use`, code: "lab.write_effect", detail: `${step.use} changes things outside; it is not run in tests and previews` }]
      : [],
  );
  if (violations.length > 0) throw new OneDataError("pipeline.invalid", "the spec has steps that change things outside; tests and previews refuse them", { violations });
}

function assertJson(record: string, i: number): void {
  try {
    parseJson(record);
  } catch (cause) {
    throw new OneDataError("request.invalid", `record ${i} is not JSON`, { cause, violations: [{ pointer: `/records/${i}`, code: "json", detail: "each record is JSON text" }] });
  }
}

const decoder = new TextDecoder();

function toPreview(input: string, { result, outputs, steps }: LabRecord, subject: LabSubject): labV1.PreviewRecord {
  return {
    input,
    verdict: result.kind,
    steps: steps.map(({ step, outcome, outputs: own, code, message }) => ({ step, outcome, code, message, outputs: own.map((bytes) => decoder.decode(bytes)) })),
    outputs: outputs.map(({ sink, json }) => ({ sink: subject.plan.sinks[sink]?.id ?? "", record: json })),
  };
}
