/** DeadLetterService: events that could not be processed, singly and by cause; run again, given up, or tried on another version. */
import type { DeadLetter, DeadLetterServiceDefinition, deadletterV1 } from "@onedata/contracts";
import { formatEventId, formatId, OneDataError, parseId, type TenantId } from "@onedata/core";
import type { Implementation } from "@onedata/mesh";
import type { Sql } from "@onedata/store";
import {
  type DeadLetterFilter,
  type DeadLetterRow,
  getDeadLetter,
  getVersion,
  groupDeadLetters,
  listDeadLetters,
  readLetterSources,
  resolvePipeline,
  startDiscard,
  startReplay,
} from "@onedata/store/control";
import { previewDeadLetters } from "../dead-letters/preview.ts";
import { toJobMessage } from "../jobs/job-message.ts";
import type { Lab } from "../lab/lab.ts";
import type { SpecChecker } from "../spec/spec-checker.ts";
import { BIG, fromToken, storable, toActor, toLimit, toToken } from "./call.ts";

export type DeadLetterPorts = { readonly sql: Sql; readonly checker: SpecChecker; readonly lab: Lab };

const DEFAULT_PREVIEW = 100;

export function createDeadLetterService({ sql, checker, lab }: DeadLetterPorts): Implementation<typeof DeadLetterServiceDefinition> {
  return {
    async listDeadLetters({ state, pageSize, pageToken, ...filter }, { tenantId }) {
      const limit = toLimit(pageSize);
      const before = fromToken(pageToken, new RegExp(`^${BIG}$`))?.[0];
      const rows = await listDeadLetters(sql, tenantId, {
        filter: toFilter(filter),
        state,
        limit: limit + 1,
        before: before === undefined ? undefined : BigInt(before),
      });
      const page = rows.slice(0, limit);
      return { deadLetters: page.map(toMessage), nextPageToken: rows.length > limit ? toToken(page.at(-1)?.id ?? 0n) : "" };
    },
    async groupDeadLetters({ pipeline }, { tenantId }) {
      const groups = await groupDeadLetters(sql, tenantId, { pipeline });
      return {
        groups: groups.map(({ fingerprint, count, sinceVersion, firstSeenAt, lastSeenAt, example }) => ({
          fingerprint,
          pipeline: example.pipeline,
          step: example.step ?? example.sink ?? "",
          code: example.code,
          count,
          sinceVersion: sinceVersion ?? 0,
          firstSeenAt,
          lastSeenAt,
          example: toMessage(example),
        })),
      };
    },
    getDeadLetter: async ({ deadLetter }, { tenantId }) => toMessage(await getDeadLetter(sql, tenantId, toLetterId(deadLetter))),
    async replayDeadLetters({ filter, version, eventsPerSecond, reason, dryRun }, context) {
      const options = { filter: toFilter(filter), version, eventsPerSecond, reason: storable(reason), dryRun };
      return toJobMessage(await startReplay(sql, context.tenantId, toActor(context), options));
    },
    async discardDeadLetters({ filter, reason, dryRun }, context) {
      const options = { filter: toFilter(filter), reason: storable(reason), dryRun };
      return toJobMessage(await startDiscard(sql, context.tenantId, toActor(context), options));
    },
    async previewDeadLetters({ filter: given, document, version, limit }, { tenantId, signal }) {
      const filter = toFilter(given);
      const pipeline = await resolvePipeline(sql, tenantId, filter);
      const checked = await readCandidate(tenantId, { pipeline: pipeline.name, document, version });
      const { matching, sources } = await readLetterSources(sql, tenantId, {
        pipelineId: pipeline.id,
        filter,
        limit: limit === 0 ? DEFAULT_PREVIEW : limit,
      });
      return previewDeadLetters(lab, tenantId, { checked, matching, sources, signal });
    },
  };

  async function readCandidate(tenantId: TenantId, { pipeline, document, version }: { pipeline: string; document: string; version: number }) {
    // A stored version is JSON; what a person sends is read as YAML, of which JSON is a part.
    if (document !== "") return checker.checkForLab(tenantId, { pipeline, document, mediaType: "application/yaml" });
    const { spec } = await getVersion(sql, tenantId, pipeline, version);
    return checker.checkForLab(tenantId, { pipeline, document: spec, mediaType: "application/json" });
  }
}

function toLetterId(text: string): bigint {
  const id = parseId("dl", text);
  if (id === undefined) throw new OneDataError("deadletter.not_found", `no dead letter ${JSON.stringify(text.slice(0, 60))}`);
  return id;
}

/** Postgres has no place for U+0000 in a text, so nothing can match it. */
function toFilter(filter: Partial<deadletterV1.DeadLetterFilter> | undefined): DeadLetterFilter {
  const { pipeline = "", fingerprint = "", code = "", step = "", sink = "", version = 0, since, until, ids = [] } = filter ?? {};
  return {
    pipeline: storable(pipeline),
    fingerprint: storable(fingerprint),
    code: storable(code),
    step: storable(step),
    sink: storable(sink),
    version,
    since,
    until,
    ids: ids.map(toLetterId),
  };
}

const toMessage = (row: DeadLetterRow): DeadLetter => ({
  id: formatId("dl", row.id),
  event: formatEventId(row.event),
  pipeline: row.pipeline,
  version: row.version ?? 0,
  step: row.step ?? "",
  sink: row.sink ?? "",
  code: row.code,
  message: row.message,
  fingerprint: row.fingerprint,
  state: row.state,
  createdAt: row.createdAt,
  payload: row.payload ?? "",
  traceId: row.traceId ?? "",
  job: row.jobId === undefined ? "" : formatId("job", row.jobId),
  reason: row.reason ?? "",
});
