/**
 * Rolls the outputs of completed events into files.
 *
 * Duty: read in order, encode, cut into segments by size and age. Non-duty: SQL (the reader's), crash safety of a segment (segment-folder.ts).
 * Invariant: a segment holds whole chunks, and the next begins right after it, so segments together hold every output once, in the reader's order.
 */
import type { Clock } from "@onedata/core";
import type { FileSinkConfig } from "./file-config.ts";
import { createEncoder } from "./format.ts";
import { type Files, nodeFiles, type OpenSegment, openSegmentFolder } from "./segment-folder.ts";

/** Outputs that were completed together. */
export type OutputChunk = {
  /** Orders like the outputs do, as text (numbers padded), of letters, digits and `-`. */
  readonly position: string;
  readonly jsons: readonly string[];
};

/**
 * The chunks after a position, in order, at most about `maxBytes` of them; none = nothing new.
 * Order must be one in which nothing appears behind a reader: pages by (xid, batch, attempt) below `pg_snapshot_xmin(pg_current_snapshot())`.
 */
export type OutputReader = (after: string | undefined, maxBytes: number, signal: AbortSignal) => Promise<readonly OutputChunk[]>;

export type ExporterOptions = {
  readonly config: FileSinkConfig;
  /** The tenant's folder. */
  readonly root: string;
  /** `pipeline.sink` */
  readonly name: string;
  readonly read: OutputReader;
  readonly clock: Clock;
  /** Throws when another exporter may have taken over; asked right before a segment counts. */
  readonly assertTurn?: () => Promise<void>;
  readonly files?: Files;
};

export interface Exporter {
  /** The last one of the finished segments; undefined = there is none. */
  readonly position: string | undefined;
  /** Reads one page. "idle" = there was nothing new. After an error make a new exporter: what was not finished is read again. */
  step(signal: AbortSignal): Promise<"busy" | "idle">;
  /** Finishes the open segment, whatever its size. */
  close(): Promise<void>;
  /** After an error: lets go of the open segment, which is not finished. Safe at any time, also when another exporter has taken over. */
  abandon(): Promise<void>;
}

const PAGE_BYTES = 1024 * 1024;

type Open = {
  readonly segment: OpenSegment;
  readonly encode: (json: string) => string;
  readonly first: string;
  last: string;
  bytes: number;
  readonly openedAtMs: number;
};

export async function createExporter({ config, root, name, read, clock, assertTurn, files = nodeFiles }: ExporterOptions): Promise<Exporter> {
  const folder = await openSegmentFolder({
    root,
    path: config.path,
    name,
    extension: config.format.kind,
    files,
    ...(assertTurn === undefined ? {} : { assertTurn }),
  });
  let open: Open | undefined;

  const seal = async (): Promise<void> => {
    const done = open;
    open = undefined;
    if (done !== undefined) await done.segment.seal({ first: done.first, last: done.last });
  };
  const isFull = (): boolean => open !== undefined && (open.bytes >= config.maxBytes || clock.now() - open.openedAtMs >= config.maxAgeMs);

  return {
    get position() {
      return folder.position;
    },
    async step(signal) {
      const chunks = await read(open?.last ?? folder.position, PAGE_BYTES, signal);
      for (const chunk of chunks) {
        open ??= {
          segment: await folder.openSegment(chunk.position),
          encode: createEncoder(config.format),
          first: chunk.position,
          last: chunk.position,
          bytes: 0,
          openedAtMs: clock.now(),
        };
        const text = chunk.jsons.map(open.encode).join("");
        await open.segment.append(text);
        open.last = chunk.position;
        open.bytes += Buffer.byteLength(text);
        if (isFull()) await seal();
      }
      if (isFull()) await seal();
      return chunks.length === 0 ? "idle" : "busy";
    },
    close: seal,
    async abandon() {
      const left = open;
      open = undefined;
      await left?.segment.abandon();
    },
  };
}
