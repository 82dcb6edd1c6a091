/** DeadLetterService: events that could not be processed, singly and by cause. */
import type { DeadLetterServiceDefinition } from "@onedata/contracts";
import { formatEventId, formatId } from "@onedata/core";
import type { Implementation, ResponseInit } from "@onedata/mesh";
import type { Sql } from "@onedata/store";
import { type DeadLetterRow, groupDeadLetters, listDeadLetters } from "@onedata/store/control";
import { BIG, fromToken, toLimit, toToken } from "./call.ts";

type Letters = NonNullable<ResponseInit<(typeof DeadLetterServiceDefinition)["methods"]["listDeadLetters"]>["deadLetters"]>;

export function createDeadLetterService({ sql }: { readonly sql: Sql }): Implementation<typeof DeadLetterServiceDefinition> {
  return {
    async listDeadLetters({ pipeline, fingerprint, state, pageSize, pageToken }, { tenantId }) {
      const limit = toLimit(pageSize);
      const before = fromToken(pageToken, new RegExp(`^${BIG}$`))?.[0];
      const rows = await listDeadLetters(sql, tenantId, {
        pipeline,
        fingerprint,
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
  };
}

const toMessage = (row: DeadLetterRow): Letters[number] => ({
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
});
