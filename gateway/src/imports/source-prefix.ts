/**
 * The prefix of an upload that is committed: its length, its lines, and a running hash that a later request must show to go on behind it.
 * The hash is CRC-32 (`crc32:` and 8 hex digits): its state is its value, so another process goes on with it after a crash. It guards against the wrong file,
 * not against an attacker, who could send any file in the first place.
 */
import { crc32 } from "node:zlib";

export type Place = { readonly bytes: bigint; readonly lines: bigint; readonly prefixHash: string };

const LF = 0x0a;

export class SourcePrefix {
  #bytes: number;
  #lines: number;
  #crc: number;
  /** What was read and is not committed yet; it begins at `#bytes`. */
  #chunks: Buffer[] = [];
  #read: number;

  constructor(bytes = 0n, lines = 0n, prefixHash: string | undefined = undefined) {
    this.#bytes = Number(bytes);
    this.#read = Number(bytes);
    this.#lines = Number(lines);
    this.#crc = prefixHash === undefined ? 0 : parseInt(prefixHash.slice(PREFIX.length), 16);
  }

  /** Bytes read so far, committed or not. */
  get readBytes(): number {
    return this.#read;
  }

  get place(): Place {
    return { bytes: BigInt(this.#bytes), lines: BigInt(this.#lines), prefixHash: formatHash(this.#crc) };
  }

  append(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#read += chunk.length;
  }

  /** Moves to `byteEnd`, which must have been read. */
  advance(byteEnd: number): Place {
    while (this.#bytes < byteEnd) {
      const chunk = this.#chunks[0];
      if (chunk === undefined) throw new Error(`the place ${byteEnd} was not read`);
      const taken = chunk.length <= byteEnd - this.#bytes ? chunk : chunk.subarray(0, byteEnd - this.#bytes);
      this.#crc = crc32(taken, this.#crc);
      this.#lines += countLines(taken);
      this.#bytes += taken.length;
      if (taken === chunk) this.#chunks.shift();
      else this.#chunks[0] = chunk.subarray(taken.length);
    }
    return this.place;
  }
}

const PREFIX = "crc32:";
export const formatHash = (crc: number): string => `${PREFIX}${crc.toString(16).padStart(8, "0")}`;
export const isPrefixHash = (text: string): boolean => /^crc32:[0-9a-f]{8}$/.test(text);

function countLines(chunk: Buffer): number {
  let lines = 0;
  for (let at = chunk.indexOf(LF); at !== -1; at = chunk.indexOf(LF, at + 1)) lines += 1;
  return lines;
}
