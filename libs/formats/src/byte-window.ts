/**
 * The part of a stream that is not consumed yet, in one growing buffer: appending costs its own bytes only, however small the chunks are.
 * Offsets are into `bytes`; `position` turns one into a position in the stream.
 */
export class ByteWindow {
  bytes: Buffer = Buffer.alloc(0);
  /** The first byte that is not consumed. */
  start = 0;
  end = 0;
  #streamOffset: number;

  constructor(streamOffset = 0) {
    this.#streamOffset = streamOffset;
  }

  get length(): number {
    return this.end - this.start;
  }

  position(offset: number): number {
    return this.#streamOffset + offset;
  }

  /** Forgets what lies behind `offset`, as if it had been consumed: positions of earlier bytes are wrong from here on, those of later ones are right. */
  dropTail(offset: number): void {
    this.#streamOffset += this.end - offset;
    this.end = offset;
  }

  /** Moves what is left to the front, so every offset the caller holds shrinks by the old `start`: that number is returned. */
  append(chunk: Uint8Array): number {
    const shift = this.start;
    const left = this.length;
    if (left + chunk.byteLength > this.bytes.byteLength) {
      const grown = Buffer.allocUnsafe(Math.max(2 * this.bytes.byteLength, left + chunk.byteLength));
      this.bytes.copy(grown, 0, this.start, this.end);
      this.bytes = grown;
    } else if (shift > 0) {
      this.bytes.copyWithin(0, this.start, this.end);
    }
    this.bytes.set(chunk, left);
    this.#streamOffset += shift;
    this.start = 0;
    this.end = left + chunk.byteLength;
    return shift;
  }
}
