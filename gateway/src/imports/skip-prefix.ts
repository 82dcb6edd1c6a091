/** The whole body was sent again: reads past what is committed and compares it. */
import { crc32 } from "node:zlib";
import { OneDataError } from "@onedata/core";
import type { ReceivedImport } from "@onedata/store";
import { formatHash } from "./source-prefix.ts";

export const differs = (): OneDataError =>
  new OneDataError(
    "import.conflict",
    "the Idempotency-Key was used with another body: what was committed of it is not the beginning of this one; take a new key for another import",
  );

/** What follows the committed prefix. Throws `import.conflict` when the body does not begin with it. */
export async function skipPrefix(source: AsyncIterable<Buffer>, found: ReceivedImport): Promise<AsyncIterable<Buffer>> {
  const committed = Number(found.sourceBytes);
  if (committed === 0) return source;
  const iterator = source[Symbol.asyncIterator]();
  let crc = 0;
  let read = 0;
  for (;;) {
    const next = await iterator.next();
    if (next.done === true) throw differs();
    const taken = next.value.subarray(0, committed - read);
    crc = crc32(taken, crc);
    read += taken.length;
    if (read < committed) continue;
    if (formatHash(crc) !== found.prefixHash) throw differs();
    return follow(next.value.subarray(taken.length), iterator);
  }
}

async function* follow(first: Buffer, iterator: AsyncIterator<Buffer>): AsyncGenerator<Buffer, void, undefined> {
  if (first.length > 0) yield first;
  for (;;) {
    const next = await iterator.next();
    if (next.done === true) return;
    yield next.value;
  }
}
