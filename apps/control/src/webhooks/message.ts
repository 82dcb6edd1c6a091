/**
 * What a webhook says: `{type, timestamp, text, data}`, where `data.sentence` (and `text`, which chat tools show) is for people.
 * Invariants: the same notice gives the same body in every try; nothing in it is a payload or a secret, because notices hold neither.
 */
import { formatId } from "@onedata/core";
import type { NoticeRow } from "@onedata/store";

type Detail = Readonly<Record<string, unknown>>;

export type WebhookMessage = { readonly id: string; readonly body: string };

export function toWebhookMessage(notice: NoticeRow): WebhookMessage {
  const parsed: unknown = JSON.parse(notice.detail);
  const detail: Detail = typeof parsed === "object" && parsed !== null ? { ...parsed } : {};
  const sentence = toSentence(notice, detail);
  const data = { ...(notice.pipeline === "" ? {} : { pipeline: notice.pipeline }), ...detail, sentence };
  return {
    id: formatId("msg", notice.id),
    body: JSON.stringify({ type: notice.topic, timestamp: notice.createdAt.toISOString(), text: sentence, data }),
  };
}

function toSentence({ topic, pipeline, createdAt }: NoticeRow, detail: Detail): string {
  const text = (name: string): string => {
    const value = detail[name];
    return typeof value === "string" || typeof value === "number" ? String(value) : "";
  };
  switch (topic) {
    case "pipeline.paused":
      return `${pipeline} ${text("reason")}. New events are kept and wait; look at \`onedata dead-letters groups ${pipeline}\`, then \`onedata resume ${pipeline}\`.`;
    case "import.stopped":
      return `Import ${text("import")} of ${pipeline} ${text("reason")}. Look at \`onedata dead-letters groups ${pipeline}\`.`;
    case "pipeline.blocked":
      return `${pipeline} is blocked since ${clock(text("since"))}: ${text("reason")}. Nothing is lost: it goes on by itself as soon as that works.`;
    case "pipeline.unblocked":
      return `${pipeline} goes on at ${clock(text("until"))}; it was blocked for ${lasting(text("since"), text("until"))} (${text("reason")}).`;
    case "dead_letters.grew":
      return describeGrowth(pipeline, detail, text);
    case "retention.blocked":
      return `Old data cannot be dropped: ${text("detail")}. Nothing is lost; the disk fills. See \`onedata doctor\`.`;
    case "retention.unblocked":
      return `Old data goes again at ${clock(text("until"))}; it could not for ${lasting(text("since"), text("until"))}.`;
    case "test":
      return `A test message from OneData, sent by ${text("by")} at ${clock(createdAt.toISOString())}: this address receives what it should.`;
    default:
      return topic;
  }
}

function describeGrowth(pipeline: string, detail: Detail, text: (name: string) => string): string {
  const look = `see \`onedata dead-letters groups ${pipeline}\``;
  if (detail["causes"] !== undefined)
    return `${pipeline} has dead letters of more than ${text("causes")} new causes within an hour; single causes are not told any more, ${look}.`;
  const at = text("sink") === "" ? `step ${text("step")}` : `sink ${text("sink")}`;
  const cause = `${at}, ${text("code")}: ${text("message")}`;
  const version = detail["version"] === undefined ? "" : ` (version ${text("version")})`;
  const count = Number(detail["count"] ?? 1);
  if (count < 10)
    return `${pipeline} has ${count === 1 ? "a dead letter" : `${count} dead letters`} of a new cause${version}: ${cause}. Example ${text("example")}; ${look}.`;
  return `${pipeline} has ${count.toLocaleString("en-US")} dead letters of one cause${version}: ${cause}. Example ${text("example")}; ${look}.`;
}

/** "12:03 UTC on 2026-11-23". */
const clock = (iso: string): string => `${iso.slice(11, 16)} UTC on ${iso.slice(0, 10)}`;

function lasting(since: string, until: string): string {
  const seconds = Math.max(0, Math.round((Date.parse(until) - Date.parse(since)) / 1000));
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} minutes` : `${Math.round(seconds / 3600)} hours`;
}
