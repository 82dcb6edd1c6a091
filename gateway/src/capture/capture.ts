/**
 * From an accepted body to a durable event, for every face (REST, RPC): checks, ordering key, quota, group commit, and the answer to each outcome.
 *
 * Invariants: everything one event can fail on is checked before it is grouped; an event checked against an outdated version is checked again, never written
 * unchecked; callbacks with a synchronous path, because promises cost more than the check itself at this rate.
 */
import { type BatchId, type EventId, OneDataError, type TenantId } from "@onedata/core";
import { checkJsonBytes, HARD_MAX_RECORD_BYTES } from "@onedata/formats";
import type { CaptureEvent, CaptureOutcome, CaptureTarget } from "@onedata/store";
import type { DiskGuard } from "./disk-guard.ts";
import { toEnvelope } from "./envelope.ts";
import { type CapturePipeline, type Pipelines, toOrderingKey } from "./pipelines.ts";
import type { Quotas } from "./quotas.ts";
import type { CaptureWriter } from "./writer.ts";

export type CaptureInput = {
  readonly body: Buffer;
  /** Undefined = JSON. */
  readonly mediaType: string | undefined;
  readonly idempotencyKey: string | undefined;
  /** 25 bytes. */
  readonly trace: Uint8Array;
};

export type Captured = { readonly id: EventId; readonly duplicate: boolean; readonly pipeline: CapturePipeline };
/** One result per input, in order. */
export type CaptureResult = Captured | OneDataError;

export interface Capture {
  /** Captures events of one pipeline in one commit. `done` is called once; an error concerns all of them. Atomic: one that fails its checks keeps all of them out. */
  capture(
    tenantId: TenantId,
    pipeline: string,
    inputs: readonly CaptureInput[],
    done: (error: OneDataError | undefined, results: readonly CaptureResult[]) => void,
    atomic?: boolean,
  ): void;
}

export type CaptureOptions = {
  readonly pipelines: Pipelines;
  readonly quotas: Quotas;
  readonly disk: DiskGuard;
  readonly writer: CaptureWriter;
  readonly maxEventBytes: number;
};

export const DEFAULT_MAX_EVENT_BYTES = 256 * 1024;
const MAX_DEPTH = 64;
/** A version that changes between the check and the commit this often is not worth chasing. */
const MAX_TRIES = 4;

type Done = (error: OneDataError | undefined, results: readonly CaptureResult[]) => void;
type Call = {
  readonly tenantId: TenantId;
  readonly name: string;
  readonly inputs: readonly CaptureInput[];
  readonly done: Done;
  readonly atomic: boolean;
  tries: number;
};

export function createCapture({ pipelines, quotas, disk, writer, maxEventBytes }: CaptureOptions): Capture {
  const limits = { maxBytes: Math.min(maxEventBytes, HARD_MAX_RECORD_BYTES), maxDepth: MAX_DEPTH };

  function start(call: Call): void {
    try {
      const pipeline = pipelines.get(call.tenantId, call.name);
      if (pipeline instanceof Promise)
        pipeline.then(
          (found) => guard(call, () => check(call, found)),
          (error: unknown) => call.done(OneDataError.from(error), []),
        );
      else check(call, pipeline);
    } catch (error) {
      call.done(OneDataError.from(error), []);
    }
  }

  function check(call: Call, pipeline: CapturePipeline): void {
    const checked: (CaptureEvent | OneDataError)[] = [];
    let pending: Promise<unknown>[] | undefined;
    call.inputs.forEach((input, i) => {
      const event = toEvent(pipeline, input);
      if (event instanceof Promise) {
        checked.push(OVERTAKEN);
        (pending ??= []).push(event.then((value) => (checked[i] = value)));
      } else checked.push(event);
    });
    if (pending === undefined) submit(call, pipeline, checked);
    else
      Promise.all(pending).then(
        () => guard(call, () => submit(call, pipeline, checked)),
        (error: unknown) => call.done(OneDataError.from(error), []),
      );
  }

  function submit(call: Call, pipeline: CapturePipeline, checked: readonly (CaptureEvent | OneDataError)[]): void {
    const events: CaptureEvent[] = [];
    let bytes = 0;
    for (const event of checked) {
      if (event instanceof OneDataError) continue;
      events.push(event);
      bytes += event.bytes ?? 0;
    }
    if (events.length === 0 || (call.atomic && events.length < checked.length)) {
      call.done(
        undefined,
        checked.map((event) => (event instanceof OneDataError ? event : NOT_WRITTEN)),
      );
      return;
    }
    if (call.tries === 0) quotas.admit(call.tenantId, events.length, bytes);
    disk.admit(bytes);
    const target: CaptureTarget = {
      tenantId: call.tenantId,
      pipelineId: pipeline.pipelineId,
      version: pipeline.version,
      laneClass: "live",
      ordered: pipeline.ordering !== undefined,
    };
    writer.add(target, events, bytes, (outcomes) => {
      if (outcomes.some((outcome) => outcome.kind === "refused")) {
        pipelines.forget(call.tenantId, call.name);
        call.tries += 1;
        // Nothing of this pipeline was written: the whole call is looked at again.
        if (call.tries < MAX_TRIES) start(call);
        else call.done(OVERTAKEN, []);
        return;
      }
      let at = 0;
      let fresh = 0;
      const results = checked.map((event): CaptureResult => {
        if (event instanceof OneDataError) return event;
        const outcome = outcomes[at++];
        if (outcome?.kind === "captured" && !outcome.duplicate) fresh += 1;
        return toResult(outcome, pipeline);
      });
      if (fresh > 0) quotas.captured(pipeline.pipelineId, fresh, bytes);
      call.done(undefined, results);
    });
  }

  function toEvent(pipeline: CapturePipeline, input: CaptureInput): CaptureEvent | OneDataError | Promise<CaptureEvent | OneDataError> {
    try {
      const { text, value } = checkJsonBytes(input.body, limits);
      const violations = pipeline.schema?.(value);
      if (violations !== undefined && violations.length > 0) {
        return new OneDataError(
          "capture.schema_mismatch",
          `the event does not match the input schema of ${pipeline.name}, version ${pipeline.version}: ${violations[0]?.pointer || "/"} ${violations[0]?.detail}`,
          { violations },
        );
      }
      const event: CaptureEvent = {
        payload: text,
        bytes: input.body.length,
        trace: input.trace,
        ...(input.idempotencyKey === undefined ? {} : { idempotencyKey: input.idempotencyKey }),
      };
      if (pipeline.ordering === undefined) return event;
      const clock = { timeUnixMs: Date.now() };
      if (pipeline.ordering.evaluateSync !== undefined) return { ...event, orderingKey: toOrderingKey(pipeline.ordering.evaluateSync(value, clock)) };
      const key = pipeline.ordering.evaluate(value, clock);
      return key instanceof Promise
        ? key.then(
            (found) => ({ ...event, orderingKey: toOrderingKey(found) }),
            (error: unknown) => OneDataError.from(error),
          )
        : { ...event, orderingKey: toOrderingKey(key) };
    } catch (error) {
      return OneDataError.from(error);
    }
  }

  return {
    capture(tenantId, name, inputs, done, atomic = false) {
      start({ tenantId, name, inputs: inputs.map(withEnvelope), done, atomic, tries: 0 });
    },
  };
}

/** What a good event of an atomic call gets when another one is bad. */
export const NOT_WRITTEN = new OneDataError("request.invalid", "not captured, because another event of the call is invalid");

const OVERTAKEN = new OneDataError("pipeline.conflict", "the pipeline keeps changing while the event is checked: try again");

function guard(call: Call, work: () => void): void {
  try {
    work();
  } catch (error) {
    call.done(OneDataError.from(error), []);
  }
}

const withEnvelope = (input: CaptureInput): CaptureInput =>
  input.mediaType === undefined ? input : { ...input, body: toEnvelope(input.body, input.mediaType) };

function toResult(outcome: CaptureOutcome | undefined, pipeline: CapturePipeline): CaptureResult {
  switch (outcome?.kind) {
    case "captured":
      return { id: toEventId(outcome.batchId, outcome.n), duplicate: outcome.duplicate, pipeline };
    case "conflict":
      return new OneDataError(
        "capture.idempotency_conflict",
        "the Idempotency-Key was used with another payload in the last 24 hours: take a new key for a new event",
      );
    case "busy":
      return new OneDataError("capture.idempotency_busy", "the Idempotency-Key is being written by an open transaction: try again", {
        retryAfterSeconds: 1,
      });
    case "failed":
      // What the database said stays in the log.
      return outcome.error.code === "store.busy"
        ? new OneDataError("store.busy", "the event could not be stored just now: try again", {
            cause: outcome.error.cause ?? outcome.error,
            retryAfterSeconds: 1,
          })
        : outcome.error;
    case "refused":
    case undefined:
      return OVERTAKEN;
  }
}

const toEventId = (batchId: BatchId, n: number): EventId => ({ batchId, n });
