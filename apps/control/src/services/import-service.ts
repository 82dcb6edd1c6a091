/** ImportService but for the upload itself, which the gateway takes in: progress, lists, cancellation, rejected lines. */
import type { ImportServiceDefinition } from "@onedata/contracts";
import { formatId, OneDataError, parseId } from "@onedata/core";
import type { Implementation, ResponseInit } from "@onedata/mesh";
import type { Sql } from "@onedata/store";
import { cancelImport, getImportProgress, type ImportProgress, listImportProgress, listRejects, resumeImport } from "@onedata/store/control";
import { BIG, fromToken, toActor, toLimit, toToken } from "./call.ts";
import { since } from "./waiting-for.ts";

type ImportMessage = ResponseInit<(typeof ImportServiceDefinition)["methods"]["getImport"]>;
type Served = Omit<Implementation<typeof ImportServiceDefinition>, "uploadImport">;

export function createImportService({ sql }: { readonly sql: Sql }): Served {
  return {
    getImport: async (request, { tenantId }) => toMessage(await getImportProgress(sql, tenantId, toImportId(request.import))),
    async listImports({ pipeline, pageSize, pageToken }, { tenantId }) {
      const limit = toLimit(pageSize);
      const before = fromToken(pageToken, new RegExp(`^${BIG}$`))?.[0];
      const rows = await listImportProgress(sql, tenantId, { pipeline, limit: limit + 1, before: before === undefined ? undefined : BigInt(before) });
      const page = rows.slice(0, limit);
      return { imports: page.map(toMessage), nextPageToken: rows.length > limit ? toToken(page.at(-1)?.id ?? 0n) : "" };
    },
    cancelImport: async (request, context) => toMessage(await cancelImport(sql, context.tenantId, toActor(context), toImportId(request.import))),
    resumeImport: async (request, context) => toMessage(await resumeImport(sql, context.tenantId, toActor(context), toImportId(request.import))),
    async *listRejects(request, { tenantId, signal }) {
      for await (const { line, code, message, excerpt } of listRejects(sql, tenantId, toImportId(request.import), signal))
        yield { line, code, detail: message, excerpt };
    },
  };
}

function toImportId(text: string): bigint {
  const id = parseId("imp", text);
  if (id === undefined) throw new OneDataError("import.not_found", `no import ${JSON.stringify(text.slice(0, 60))}`);
  return id;
}

function toMessage(row: ImportProgress): ImportMessage {
  const waiting = Math.max(row.accepted - row.delivered - row.filtered - row.dead, 0);
  return {
    id: formatId("imp", row.id),
    pipeline: row.pipeline,
    state: row.state,
    accepted: row.accepted,
    rejected: row.rejected,
    delivered: row.delivered,
    filtered: row.filtered,
    dead: row.dead,
    waiting,
    resumeFrom: row.state === "interrupted" ? { byte: row.sourceBytes, line: row.sourceLines } : undefined,
    createdAt: row.createdAt,
    doneAt: row.state === "done" ? row.finishedAt : undefined,
    waitingFor: describeWaiting(row, waiting),
  };
}

function describeWaiting({ state, reason, paused, accepted }: ImportProgress, waiting: number): string {
  if (reason !== undefined) return reason;
  if (paused !== undefined && waiting > 0)
    return `the pipeline is paused${paused.by === undefined ? "" : ` by ${paused.by}`} ${since(paused.at, new Date())}${paused.reason === undefined ? "" : `: ${paused.reason}`}`;
  return state === "processing" ? `${waiting.toLocaleString("en-US")} of ${accepted.toLocaleString("en-US")} records are not finished` : "";
}
