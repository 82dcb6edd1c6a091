/**
 * The sending half of `import`: from disk or stdin to the import route.
 * To go on, the part that the server has is read again and hashed (CRC-32), so that another file is never taken for a continuation.
 */
import { createReadStream, statSync } from "node:fs";
import { crc32, createGunzip } from "node:zlib";
import type { Import } from "@onedata/contracts";
import { isJsonObject, type JsonObject } from "@onedata/core";
import { type Api, segment } from "../api/api.ts";
import { upload } from "../api/upload.ts";
import { exitCodes, Failure, Refused } from "../failure.ts";
import { detect, type Format, formatOfFile, peek } from "../local/input.ts";
import { bytes, cell, number, type Row } from "../output/cells.ts";
import { createProgress } from "../output/progress.ts";
import type { Session } from "../session.ts";

export type ImportOptions = {
  readonly format?: Format;
  readonly delimiter?: string;
  readonly emptyAs?: string;
  readonly key?: string;
  readonly resume?: boolean;
  readonly wait: boolean;
};

const MEDIA_TYPES: Readonly<Record<Format, string>> = { ndjson: "application/x-ndjson", csv: "text/csv", json: "application/json" };

/** The import as the server answered when it had all of it. */
export async function uploadImport(session: Session, pipeline: string, file: string, options: ImportOptions): Promise<Row<Import> & JsonObject> {
  const { terminal, out, signal } = session;
  const api = session.api();
  const path = `/v1/pipelines/${segment(pipeline)}/imports`;
  const place = options.resume === true ? await readPlace(api, path, options.key ?? "") : undefined;
  if (place?.ended !== undefined) {
    out.note(`${cell(place.ended.id)} was received as a whole already`);
    return place.ended;
  }
  const isGzip = file.endsWith(".gz");
  const size = file === "-" ? undefined : statSync(file).size;
  let read = 0;
  let skippedBytes = 0;
  const progress = createProgress(terminal, !out.isJson);
  let startedMs = performance.now();
  const counted = async function* (source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of source) {
      read += chunk.byteLength;
      const rate = ((read - skippedBytes) / Math.max(performance.now() - startedMs, 1)) * 1000;
      progress.show(
        `${bytes(read)}${size === undefined ? "" : ` of ${bytes(size)}`} sent  ${bytes(rate)}/s`,
        size === undefined || size === 0 ? undefined : read / size,
      );
      yield chunk;
    }
  };
  const raw: AsyncIterable<Uint8Array> = counted(file === "-" ? terminal.stdin : createReadStream(file, { highWaterMark: 256 * 1024 }));
  try {
    // Going on happens at a decompressed byte, so what is left is sent plain.
    const isPlain = place !== undefined && isGzip;
    const source = await peek(isPlain ? unzip(raw) : raw);
    const skipped = place === undefined ? undefined : await skip(source.all, place.byte);
    const format =
      options.format ?? formatOfFile(file === "-" ? undefined : file) ?? (isGzip && !isPlain ? await detectGzip(file) : detect(source.head));
    if (skipped !== undefined) {
      progress.clear();
      [skippedBytes, startedMs] = [read, performance.now()];
      out.note(`going on at line ${number((place?.line ?? 0) + 1)}, byte ${number(place?.byte)}`);
    }
    return await upload(api, {
      path,
      query: {
        delimiter: options.delimiter,
        emptyAs: options.emptyAs,
        ...(skipped === undefined ? {} : { from: place?.byte, prefixHash: skipped.hash }),
      },
      headers: {
        "content-type": MEDIA_TYPES[format],
        ...(isGzip && !isPlain ? { "content-encoding": "gzip" } : {}),
        ...(options.key === undefined ? {} : { "idempotency-key": options.key }),
      },
      body: skipped?.rest ?? source.all,
      signal,
    });
  } catch (error) {
    if (options.key !== undefined && !(error instanceof Refused && error.status < 500)) {
      progress.clear();
      out.note(`what was captured is kept; go on with: onedata import ${pipeline} ${file} --key ${options.key} --resume`);
    }
    throw error;
  } finally {
    progress.clear();
  }
}

type Place = { readonly byte: number; readonly line: number; readonly ended?: Row<Import> & JsonObject };

/** An empty body asks; an import that was not begun yet begins at its first byte. */
async function readPlace(api: Api, path: string, key: string): Promise<Place | undefined> {
  try {
    const found: Row<Import> & JsonObject = await api.call("POST", path, {
      headers: { "idempotency-key": key, "content-type": "application/x-ndjson" },
    });
    const from = found.resumeFrom;
    if (!isJsonObject(from)) return { byte: 0, line: 0, ended: found };
    return { byte: typeof from["byte"] === "number" ? from["byte"] : 0, line: typeof from["line"] === "number" ? from["line"] : 0 };
  } catch (error) {
    if (error instanceof Refused && error.code === "import.not_found") return undefined;
    throw error;
  }
}

async function skip(source: AsyncIterable<Uint8Array>, byte: number): Promise<{ hash: string; rest: AsyncIterable<Uint8Array> }> {
  const iterator = source[Symbol.asyncIterator]();
  let crc = 0;
  let left = byte;
  let over: Uint8Array = new Uint8Array();
  while (left > 0) {
    const next = await iterator.next();
    if (next.done === true)
      throw new Failure(`the file is shorter than what was captured of it (${byte} bytes): it is another file`, exitCodes.problem);
    const taken = next.value.subarray(0, left);
    crc = crc32(taken, crc);
    left -= taken.byteLength;
    over = next.value.subarray(taken.byteLength);
  }
  const rest = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
    if (over.byteLength > 0) yield over;
    for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) yield next.value;
  };
  return { hash: `crc32:${crc.toString(16).padStart(8, "0")}`, rest: rest() };
}

async function* unzip(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const gunzip = createGunzip();
  const feeding = (async () => {
    for await (const chunk of source) if (!gunzip.write(chunk)) await new Promise((resolve) => gunzip.once("drain", resolve));
    gunzip.end();
  })();
  feeding.catch((error: unknown) => gunzip.destroy(error instanceof Error ? error : new Error(String(error))));
  yield* gunzip;
}

async function detectGzip(file: string): Promise<Format> {
  if (file === "-") throw new Failure("say --format: it cannot be seen in compressed input", exitCodes.usage);
  const { head, all } = await peek(createReadStream(file).pipe(createGunzip()));
  await all[Symbol.asyncIterator]().return?.();
  return detect(head);
}
