/**
 * Captures one chunk of an import: its events in bulk lanes, its rejected lines, and how far the source has been read, in one commit.
 *
 * Invariant: the place in the source moves by compare-and-set from where this uploader believes it to be. Two uploaders, or a retry after a lost COMMIT, can
 * therefore never write a line twice: the second gets `import.conflict` and reads the row to see where to go on.
 */
import { randomUUID } from "node:crypto";
import { type BatchId, OneDataError } from "@onedata/core";
import { diskFull, writeBatches } from "./capture.ts";
import { type CaptureEvent, type CaptureTarget, packBatches } from "./capture-batches.ts";
import { type Store, sqlStateOf, withPartitions } from "./connection.ts";
import { parkImport } from "./stopped-imports.ts";
import { toStorableText } from "./storable-text.ts";

/** Decompressed bytes and lines read, and a running hash over them. */
export type SourcePlace = { readonly bytes: bigint; readonly lines: bigint; readonly prefixHash?: string | undefined };

export type RejectedLine = {
  readonly line: bigint;
  readonly byteOffset: bigint;
  readonly code: string;
  readonly message: string;
  readonly raw: string;
};

export type ImportChunk = {
  readonly target: CaptureTarget & { readonly importId: bigint };
  readonly events: readonly CaptureEvent[];
  readonly rejects: readonly RejectedLine[];
  /** Lines rejected beyond what is kept: counted only. */
  readonly unkeptRejects?: number;
  readonly from: SourcePlace;
  readonly to: SourcePlace;
  /** The body has ended: the import becomes `received`. */
  readonly last?: boolean;
};

const MAX_RAW_CHARACTERS = 4096;
const MAX_MESSAGE_CHARACTERS = 1000;

/**
 * Returns the batches written. Throws `import.conflict` when the import is not receiving or stands elsewhere, and `pipeline.conflict` when the pipeline is
 * gone or another version is active: check the events again and retry. `capture.disk_full`: nothing was written.
 */
export async function captureImportChunk(store: Store, chunk: ImportChunk): Promise<readonly BatchId[]> {
  try {
    return await writeChunk(store, chunk);
  } catch (error) {
    throw sqlStateOf(error) === "53100" ? diskFull(error) : error;
  }
}

function writeChunk(store: Store, chunk: ImportChunk): Promise<readonly BatchId[]> {
  const { target, events, rejects, from, to } = chunk;
  const batches = packBatches(events.map((event, slot) => ({ target, event, slot })));
  return withPartitions(store.sql, () =>
    store.imports.begin(async (transaction) => {
      // The compare-and-set goes first: its row lock makes two uploaders take turns.
      const moved = transaction<{ id: bigint; is_stopped: boolean }[]>`
        update onedata.imports
           set source_bytes = ${to.bytes}, source_lines = ${to.lines}, prefix_hash = ${to.prefixHash ?? null}, accepted = accepted + ${events.length},
               rejected = rejected + ${rejects.length + (chunk.unkeptRejects ?? 0)}, updated_at = now(), reason = null, state = ${chunk.last === true ? "received" : "receiving"},
               finished_at = case when ${chunk.last === true} then now() end
         where id = ${target.importId} and tenant_id = ${target.tenantId} and state in ('receiving', 'interrupted') and source_bytes = ${from.bytes} and source_lines = ${from.lines}
        returning id, stopped_at is not null as is_stopped`;
      const written = batches.length === 0 ? undefined : writeBatches(transaction, batches, randomUUID(), false);
      const rejected =
        rejects.length === 0 ? undefined : transaction.unsafe(REJECTS, [String(target.importId), JSON.stringify(toRows(rejects))], { prepare: true });
      const [rows, answer] = await Promise.all([moved, written, rejected]);
      if (rows.length === 0)
        throw new OneDataError(
          "import.conflict",
          "the import was cancelled, is complete, or another upload of it is under way; read it to see where to go on",
        );
      const ids = answer?.ids ?? [];
      const known = ids.filter((id) => id !== undefined);
      if (known.length < ids.length)
        throw new OneDataError("pipeline.conflict", "the pipeline is gone, or another version was activated while the import was read");
      if (rows[0]?.is_stopped === true) await parkImport(transaction, target.tenantId, target);
      return known;
    }),
  );
}

const REJECTS = `
insert into onedata.import_rejects (import_id, line, byte_offset, code, message, raw)
select $1::bigint, r.line, r.byte_offset, r.code, r.message, r.raw from json_to_recordset($2::text::json) r(line bigint, byte_offset bigint, code text, message text, raw text)
on conflict do nothing`;

/** One row per line: of a JSON array in one line, the first element that is rejected and how many more there are. */
function toRows(rejects: readonly RejectedLine[]): readonly Record<string, unknown>[] {
  const byLine = new Map<bigint, { readonly first: RejectedLine; count: number }>();
  for (const reject of rejects) {
    const known = byLine.get(reject.line);
    if (known === undefined) byLine.set(reject.line, { first: reject, count: 1 });
    else known.count += 1;
  }
  return [...byLine.values()].map(({ first, count }) =>
    toRow(
      count === 1 ? first : { ...first, message: `${first.message.slice(0, MAX_MESSAGE_CHARACTERS)} (and ${count - 1} more elements of this line)` },
    ),
  );
}

const toRow = ({ line, byteOffset, code, message, raw }: RejectedLine): Record<string, unknown> => ({
  line: String(line),
  byte_offset: String(byteOffset),
  code,
  message: toStorableText(message.slice(0, 2 * MAX_MESSAGE_CHARACTERS)),
  raw: toStorableText(raw.slice(0, MAX_RAW_CHARACTERS)),
});
