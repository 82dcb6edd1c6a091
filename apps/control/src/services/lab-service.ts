/** LabService: runs the tests of a spec or version, and previews it over records, step by step. */
import type { LabServiceDefinition } from "@onedata/contracts";
import { type LabRecord, OneDataError, type TenantId } from "@onedata/core";
import { locateJsonError } from "@onedata/formats";
import type { Implementation, ResponseInit } from "@onedata/mesh";
import type { Sql } from "@onedata/store";
import { getVersion, readLastPayloads } from "@onedata/store/control";
import { type Lab, refuseWrites } from "../lab/lab.ts";
import type { CheckedSpec } from "../spec/check-spec.ts";
import type { SpecChecker } from "../spec/spec-checker.ts";

type PreviewRecordMessage = NonNullable<ResponseInit<(typeof LabServiceDefinition)["methods"]["previewPipeline"]>["records"]>[number];
type What = { readonly pipeline: string; readonly document: string; readonly version: number };

const DEFAULT_LAST = 10;
const MAX_PREVIEW_BYTES = 1024 * 1024;

export function createLabService({ sql, checker, lab }: { sql: Sql; checker: SpecChecker; lab: Lab }): Implementation<typeof LabServiceDefinition> {
  const subject = async (tenantId: TenantId, { pipeline, document, version }: What, signal: AbortSignal): Promise<CheckedSpec> => {
    const text = document === "" ? (await getVersion(sql, tenantId, pipeline, version)).spec : document;
    // A stored version is JSON; what a person sends is read as YAML, of which JSON is a part.
    const checked = await checker.checkForLab(
      tenantId,
      {
        pipeline,
        document: text,
        mediaType: document === "" ? "application/json" : "application/yaml",
      },
      signal,
    );
    const refused = refuseWrites(checked.spec, checked.catalogue);
    if (refused.length > 0)
      throw new OneDataError("pipeline.invalid", `${JSON.stringify(pipeline)} cannot be tried: ${refused[0]?.detail ?? ""}`, { violations: refused });
    return checked;
  };
  return {
    async testPipeline(request, { tenantId, signal }) {
      const tests = await lab.test(tenantId, await subject(tenantId, request, signal), signal);
      return { tests, passed: tests.every((test) => test.passed) };
    },
    async previewPipeline(request, { tenantId, signal }) {
      const checked = await subject(tenantId, request, signal);
      checkRecords(request.records);
      const records =
        request.records.length > 0
          ? request.records
          : await readLastPayloads(sql, tenantId, request.pipeline, request.last === 0 ? DEFAULT_LAST : request.last);
      const results = await lab.run(tenantId, checked, { records, timeUnixMs: Date.now(), signal });
      return { records: results.map((result, i) => toMessage(checked, records[i] ?? "", result)) };
    },
  };
}

function checkRecords(records: readonly string[]): void {
  const violations = records.flatMap((record, i) => {
    const error = locateJsonError(record);
    return error === undefined ? [] : [{ pointer: `/records/${i}`, code: "json", detail: error.message }];
  });
  if (violations.length > 0)
    throw new OneDataError("request.invalid", `record ${violations[0]?.pointer ?? ""} is not valid JSON: ${violations[0]?.detail ?? ""}`, {
      violations,
    });
  const bytes = records.reduce((sum, record) => sum + Buffer.byteLength(record), 0);
  if (bytes > MAX_PREVIEW_BYTES)
    throw new OneDataError("request.too_large", `the records have ${bytes} bytes together; a preview takes ${MAX_PREVIEW_BYTES}`);
}

const decoder = new TextDecoder();

function toMessage({ plan }: CheckedSpec, input: string, { result, outputs, steps }: LabRecord): PreviewRecordMessage {
  return {
    input,
    verdict: result.kind === "pending" ? "dead" : result.kind,
    steps: steps.map(({ step, outcome, outputs: made, code, message }) => ({
      step,
      outcome,
      outputs: made.map((json) => decoder.decode(json)),
      code,
      message,
    })),
    outputs: outputs.map(({ sink, json }) => ({ sink: plan.sinks[sink]?.id ?? "", record: json })),
  };
}
