/** EventService: what became of events, their outputs, and a tail of what finishes. */
import type { Event, EventServiceDefinition } from "@onedata/contracts";
import { formatEventId, formatId, fromVerdictByte, OneDataError, parseEventId, toBatchId } from "@onedata/core";
import { type Implementation, type ResponseInit, sleep } from "@onedata/mesh";
import type { Sql } from "@onedata/store";
import {
  type EventAttempt,
  type EventDelivery,
  type EventRow,
  type EventState,
  type EventSummary,
  getEvent,
  getPipeline,
  listEventDeliveries,
  listEvents,
  listFinished,
  listOpenBatches,
  listOutputs,
  stateOf,
} from "@onedata/store/control";
import { replayEvent } from "../dead-letters/replay-event.ts";
import { toJobMessage } from "../jobs/job-message.ts";
import { BIG, fromToken, INT, toLimit, toToken } from "./call.ts";
import { describeWait } from "./waiting-for.ts";
import type { WrittenReader } from "./written.ts";

type EventMessage = ResponseInit<(typeof EventServiceDefinition)["methods"]["getEvent"]>;
type AttemptMessage = Event["timeline"][number];

const TAIL_POLL_MS = 400;
/** A tail watches at most this many batches; beyond it, it shows a part of what finishes. */
const MAX_TAILED_BATCHES = 2_000;
/** Batches commit a little after their id was drawn. */
const COMMIT_SLACK = 5_000n << 20n;

export type EventServicePorts = {
  readonly sql: Sql;
  readonly written: WrittenReader;
};

export function createEventService({ sql, written }: EventServicePorts): Implementation<typeof EventServiceDefinition> {
  return {
    async getEvent({ event }, { tenantId, signal }) {
      const id = parseEventId(event);
      const [found, deliveries] = await Promise.all([getEvent(sql, tenantId, id), listEventDeliveries(sql, tenantId, id)]);
      return written(tenantId, { ...toEvent(found), deliveries: deliveries.map(toDelivery) }, signal);
    },
    replayEvent: async (request, context) => toJobMessage(await replayEvent(sql, request, context)),
    async listEvents({ pipeline, pageSize, pageToken, state, since, until }, { tenantId }) {
      const cursor = fromToken(pageToken, new RegExp(`^${BIG} ${INT}$`));
      const { events, next } = await listEvents(sql, tenantId, {
        name: pipeline,
        limit: toLimit(pageSize),
        before: cursor === undefined ? undefined : { batchId: toBatchId(BigInt(cursor[0] ?? "0")), n: Number(cursor[1]) },
        state: toState(state),
        since,
        until,
      });
      return { events: events.map((event) => toSummary(event, pipeline)), nextPageToken: next === undefined ? "" : toToken(next.batchId, next.n) };
    },
    async listOutputs({ pipeline, pageSize, pageToken }, { tenantId }) {
      const cursor = fromToken(pageToken, new RegExp(`^${BIG}\\.${BIG}\\.${INT}\\.${INT}$`));
      const { outputs, next } = await listOutputs(sql, tenantId, {
        name: pipeline,
        limit: toLimit(pageSize),
        after:
          cursor === undefined
            ? undefined
            : { xid: cursor[0] ?? "0", batchId: BigInt(cursor[1] ?? "0"), sink: Number(cursor[2]), position: Number(cursor[3]) },
      });
      return {
        outputs: outputs.map(({ event, k, record }) => ({ event: formatEventId(event), k, record })),
        nextPageToken: toToken(`${next.xid}.${next.batchId}.${next.sink}.${next.position}`),
      };
    },
    async *tailEvents({ pipeline }, { tenantId, signal }) {
      await getPipeline(sql, tenantId, pipeline);
      let since: Date | undefined;
      let above: bigint | undefined;
      let watched = new Set<bigint>();
      while (!signal.aborted) {
        const { batchIds, now } = await listOpenBatches(sql, tenantId, {
          name: pipeline,
          above: above ?? BigInt(Number.MAX_SAFE_INTEGER) << 10n,
          limit: MAX_TAILED_BATCHES,
        });
        for (const id of batchIds) watched.add(id);
        above = (BigInt(now.getTime()) << 20n) - COMMIT_SLACK;
        if (since !== undefined) {
          const finished = await listFinished(sql, tenantId, { batchIds: [...watched], since });
          for (const event of finished) {
            yield toSummary(event, pipeline);
            if (event.doneAt !== undefined && event.doneAt > since) since = event.doneAt;
          }
        } else {
          since = now;
        }
        // Batches that are neither open nor young have been seen to their end.
        const open = new Set(batchIds);
        watched = new Set([...watched].filter((id) => open.has(id)).slice(-MAX_TAILED_BATCHES));
        await sleep(TAIL_POLL_MS, signal);
      }
    },
  };
}

const toDelivery = ({ jobId, kind, generation, state, verdict, version, at, edited }: EventDelivery): Event["deliveries"][number] => ({
  job: jobId === undefined ? "" : formatId("job", jobId),
  kind,
  generation,
  state,
  verdict: verdictName(verdict),
  version: version ?? 0,
  at,
  edited,
});

function toState(state: string): EventState | undefined {
  if (state === "") return undefined;
  if (state === "waiting" || state === "running" || state === "done") return state;
  throw new OneDataError("request.invalid", `unknown state ${JSON.stringify(state)}; known: waiting, running, done`, {
    violations: [{ pointer: "/state", code: "in", detail: "waiting, running or done" }],
  });
}

const verdictName = (byte: number): string => fromVerdictByte(byte)?.kind ?? "";

function toEvent(event: EventRow): EventMessage {
  const { wait } = event;
  return {
    id: formatEventId(event.id),
    pipeline: event.pipeline,
    state: wait === undefined ? "done" : wait.running ? "running" : "waiting",
    verdict: verdictName(event.verdict),
    waitingFor: wait === undefined ? "" : describeWait(wait, event.waitN),
    version: event.attempts.at(-1)?.version ?? 0,
    attempt: Math.max(event.attempts.at(-1)?.attempt ?? 0, wait?.attempt ?? 0),
    capturedAt: event.capturedAt,
    doneAt: event.doneAt,
    payload: event.payload,
    editedPayload: event.edited,
    timeline: event.attempts.map(toAttempt),
    deadLetters: event.deadLetters.map(({ id, step, sink, code, message }) => ({
      id: formatId("dl", id),
      step: step ?? "",
      sink: sink ?? "",
      code,
      message,
    })),
    import: event.importId === undefined ? "" : formatId("imp", event.importId),
    traceId: event.traceId ?? "",
    orderingKey: event.orderingKey ?? "",
  };
}

function toSummary(event: EventSummary, pipeline: string): EventMessage {
  return {
    id: formatEventId(event.id),
    pipeline,
    state: stateOf(event),
    verdict: verdictName(event.verdict),
    waitingFor: event.wait === undefined ? "" : describeWait(event.wait, event.id.n),
    version: event.version ?? 0,
    attempt: event.attempt,
    capturedAt: event.capturedAt,
    doneAt: event.doneAt,
    import: event.importId === undefined ? "" : formatId("imp", event.importId),
    traceId: event.traceId ?? "",
    orderingKey: event.orderingKey ?? "",
  };
}

const toAttempt = (attempt: EventAttempt): AttemptMessage => ({
  attempt: attempt.attempt,
  version: attempt.version ?? 0,
  outcome: attempt.outcome,
  startedAt: attempt.startedAt,
  endedAt: attempt.endedAt,
  steps: toSteps(attempt.steps),
  verdict: verdictName(attempt.verdict),
});

/** Written by an engine, perhaps of another version: what is not understood is left out. */
function toSteps(json: string | undefined): AttemptMessage["steps"] {
  const outer: unknown = json === undefined ? [] : JSON.parse(json);
  // Written by a client that took the text for a JSON string.
  const parsed: unknown = typeof outer === "string" ? JSON.parse(outer) : outer;
  if (!Array.isArray(parsed)) return [];
  return parsed.flatMap((item: unknown) => {
    if (typeof item !== "object" || item === null || !("step" in item) || typeof item.step !== "string") return [];
    const service = "service" in item && typeof item.service === "string" ? item.service : "";
    const durationMs = "durationMs" in item && typeof item.durationMs === "number" ? item.durationMs : 0;
    return [{ step: item.step, service, durationMs }];
  });
}
