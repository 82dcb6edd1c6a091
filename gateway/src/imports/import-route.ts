/**
 * `POST /v1/pipelines/{pipeline}/imports`: NDJSON, CSV or a JSON array, streamed, gzip or plain → 202 with the import.
 *
 * With an `Idempotency-Key` a cut-off import goes on:
 *  - an empty body answers where (`resumeFrom`: decompressed byte, lines before it);
 *  - `?from=<byte>&prefixHash=crc32:<hex of the bytes before it>` sends the rest;
 *  - the whole body again is fine too: what is committed is read past, and compared.
 * Invariant: bytes are never taken for a continuation unless what stands before them is what was committed.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { formatId, OneDataError } from "@onedata/core";
import { findImportByKey, isConnectionLost, openImport, type ReceivedImport, type Store, setImportFormat, stopImport } from "@onedata/store";
import { getImportProgress } from "@onedata/store/control";
import { isSampledTrace } from "@onedata/telemetry";
import { type Authenticator, demandScopes } from "../auth/authenticator.ts";
import type { Principal } from "../auth/principal.ts";
import { readIdempotencyKey } from "../capture/capture-route.ts";
import type { DiskGuard } from "../capture/disk-guard.ts";
import type { CapturePipeline, Pipelines } from "../capture/pipelines.ts";
import type { Quotas } from "../capture/quotas.ts";
import { toTrace } from "../capture/trace-context.ts";
import { readQuery } from "../http/query.ts";
import type { ImportHandler, Log } from "../http/seam.ts";
import type { Share } from "../shares/share.ts";
import { type ImportFormat, openSplitter, parseFormat, readFormat } from "./import-format.ts";
import { openSource, peek, type Source } from "./import-source.ts";
import { receiveImport } from "./receive-import.ts";
import { sendImport } from "./send-import.ts";
import { differs, skipPrefix } from "./skip-prefix.ts";
import { isPrefixHash, SourcePrefix } from "./source-prefix.ts";

export type ImportRouteOptions = {
  readonly authenticator: Authenticator;
  readonly store: Store;
  readonly pipelines: Pipelines;
  readonly quotas: Quotas;
  readonly disk: DiskGuard;
  /** Imports being received. */
  readonly imports: Share;
  readonly wake: () => void;
  readonly log: Log;
  readonly maxEventBytes: number;
  /** Aborts when the gateway stops: imports commit what they have and are cut off. */
  readonly stopping: AbortSignal;
};

const PARAMETERS = ["name", "header", "delimiter", "emptyAs", "from", "prefixHash"];
const SCOPES = ["events:write"];

type Upload = {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly principal: Principal;
  readonly pipeline: CapturePipeline;
  readonly key: string | undefined;
  readonly query: URLSearchParams;
};

export function createImportHandler(options: ImportRouteOptions): ImportHandler {
  const { authenticator, store, pipelines, imports, log } = options;

  return async (request, response, pipelineName) => {
    const principal = demandScopes(await authenticator.authenticate(request), SCOPES);
    if (options.stopping.aborted) throw new OneDataError("capture.overloaded", "the gateway is shutting down: try again", { retryAfterSeconds: 5 });
    imports.take(principal.tenantId, 1);
    try {
      const pipeline = await pipelines.get(principal.tenantId, pipelineName);
      const query = readQuery(request.url, PARAMETERS, ["header"]);
      await receive({ request, response, principal, pipeline, key: readIdempotencyKey(request.headers["idempotency-key"]), query });
    } catch (cause) {
      const error = isConnectionLost(cause)
        ? new OneDataError("store.unavailable", "the database cannot be reached: send the import again, with its Idempotency-Key if it has one", {
            cause,
            retryAfterSeconds: 5,
          })
        : cause;
      // What is still being sent is not read: the connection cannot be used again.
      if (!request.complete && !response.headersSent) response.setHeader("connection", "close");
      throw error;
    } finally {
      imports.give(principal.tenantId, 1);
    }
  };

  async function receive(upload: Upload): Promise<void> {
    const from = readFrom(upload.query);
    const { source, isEmpty } = await peek(openSource(upload.request, options.stopping));
    try {
      if (isEmpty && from === undefined) await answerPlace(upload);
      else await receiveFrom(upload, source, from);
    } finally {
      // Whatever refused it. Not waited for: a chunk that is still awaited ends with the request.
      void source.return();
    }
  }

  async function receiveFrom(upload: Upload, source: Source, from: ReturnType<typeof readFrom>): Promise<void> {
    const { request, principal, pipeline, key, query } = upload;

    // One that has begun waits for room; a new one would only wait from its first byte on.
    options.disk.admitImport();
    const wanted = readFormat(request.headers["content-type"], query);
    if (from !== undefined && key === undefined)
      throw new OneDataError("request.invalid", "?from= needs the Idempotency-Key of the import that it goes on with");
    const { found, created } = await openImport(store.sql, principal.tenantId, {
      pipelineId: pipeline.pipelineId,
      idempotencyKey: key,
      name: query.get("name")?.slice(0, 200) ?? "",
      mediaType: request.headers["content-type"] ?? "",
      format: JSON.stringify(wanted),
      createdBy: principal.name,
    });
    if (created && from !== undefined && from.byte > 0) {
      await stopImport(store.sql, principal.tenantId, found.id, { state: "interrupted", reason: "it was to go on, and had not begun", at: 0n });
      throw new OneDataError("import.conflict", "no import with this Idempotency-Key has begun: send it from its first byte");
    }
    const prefix = new SourcePrefix(found.sourceBytes, found.sourceLines, found.prefixHash);
    let rest: AsyncIterable<Buffer> = source;
    if (!created) {
      refuseEnded(found);
      if (from === undefined) {
        rest = await skipPrefix(source, found);
        if (found.state === "received") {
          for await (const more of rest) if (more.length > 0) throw differs();
          return answer(upload, found.id);
        }
      } else if (BigInt(from.byte) !== found.sourceBytes || from.prefixHash !== prefix.place.prefixHash) {
        throw BigInt(from.byte) === found.sourceBytes
          ? differs()
          : new OneDataError(
              "import.conflict",
              `the import stands at byte ${found.sourceBytes}, line ${found.sourceLines}, not at ${from.byte}: go on from there`,
            );
      } else if (found.state === "received")
        throw new OneDataError("import.conflict", "the import is complete: take a new Idempotency-Key for another one");
    }
    const format = created ? wanted : parseFormat(found.format);
    await read(upload, found, { format, prefix, rest });
    log.info("import received", { import: formatId("imp", found.id), pipeline: pipeline.name });
    await answer(upload, found.id);
  }

  async function read(
    { principal, pipeline, request }: Upload,
    found: ReceivedImport,
    { format, prefix, rest }: { format: ImportFormat; prefix: SourcePrefix; rest: AsyncIterable<Buffer> },
  ): Promise<void> {
    const gone = new AbortController();
    request.once("close", () => {
      if (!request.complete) gone.abort(new OneDataError("aborted", "the upload was cut off"));
    });
    let header: ImportFormat["header"];
    const place = prefix.place;
    const splitter = openSplitter(
      format,
      { byte: Number(place.bytes), line: Number(place.lines) + 1, maxRecordBytes: options.maxEventBytes },
      (seen) => (header = seen),
    );
    try {
      await receiveImport(rest, {
        store,
        pipelines,
        quotas: options.quotas,
        disk: options.disk,
        signal: AbortSignal.any([options.stopping, gone.signal]),
        acceptedBefore: found.accepted,
        committed: options.wake,
        importId: found.id,
        pipeline,
        splitter,
        prefix,
        rejectedBefore: found.rejected,
        trace: traceOf(request),
        beforeFirstCommit: async () => {
          if (header !== undefined && place.bytes === 0n)
            await setImportFormat(store.sql, principal.tenantId, found.id, JSON.stringify({ ...format, header }));
        },
      });
    } catch (error) {
      const known = OneDataError.from(error);
      const isFault = known.code === "import.malformed" || known.code === "pipeline.not_found" || known.code === "pipeline.deleting";
      const reason = isFault
        ? known.message
        : options.stopping.aborted
          ? "the gateway was stopped"
          : known.code === "internal"
            ? "the upload was cut off"
            : known.message;
      await stopImport(store.sql, principal.tenantId, found.id, { state: isFault ? "failed" : "interrupted", reason, at: prefix.place.bytes }).catch(
        (cause: unknown) => log.warn("an import could not be marked as stopped", { error: cause }),
      );
      throw error;
    }
  }

  async function answer({ response, principal }: Upload, id: bigint): Promise<void> {
    sendImport(response, 202, await getImportProgress(store.sql, principal.tenantId, id));
  }

  /** An empty body asks where to go on. */
  async function answerPlace({ response, principal, pipeline, key }: Upload): Promise<void> {
    if (key === undefined) throw new OneDataError("import.malformed", "the body is empty: send NDJSON, CSV or a JSON array");
    const found = await findImportByKey(store.sql, principal.tenantId, pipeline.pipelineId, key);
    if (found === undefined)
      throw new OneDataError("import.not_found", "no import of this pipeline has this Idempotency-Key: send it from its first byte");
    sendImport(
      response,
      200,
      await getImportProgress(store.sql, principal.tenantId, found.id),
      found.state === "interrupted" || found.state === "receiving",
    );
  }
}

function refuseEnded(found: ReceivedImport): void {
  if (found.state === "cancelled" || found.state === "failed") {
    throw new OneDataError(
      "import.conflict",
      `the import ${found.state === "failed" ? "failed" : "was cancelled"}${found.reason === undefined ? "" : ` (${found.reason})`}: take a new Idempotency-Key`,
    );
  }
}

function readFrom(query: URLSearchParams): { byte: number; prefixHash: string } | undefined {
  const from = query.get("from");
  if (from === null) return undefined;
  const prefixHash = query.get("prefixHash") ?? (from === "0" ? "crc32:00000000" : "");
  if (!/^\d{1,15}$/.test(from)) throw new OneDataError("request.invalid", "from is the decompressed byte to go on from, as resumeFrom says");
  if (!isPrefixHash(prefixHash))
    throw new OneDataError(
      "request.invalid",
      "prefixHash is needed beside from: crc32: and the 8 hex digits of the CRC-32 of the bytes before it, so that the rest of another file is not taken for this one's",
    );
  return { byte: Number(from), prefixHash };
}

/** Undefined where nobody keeps the trace: then no event of the import has one. */
function traceOf({ headers }: IncomingMessage): Uint8Array | undefined {
  const { traceparent } = headers;
  const trace = typeof traceparent === "string" ? toTrace(traceparent) : undefined;
  return isSampledTrace(trace) ? trace : undefined;
}
