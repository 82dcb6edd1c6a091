/**
 * What a broker message carries: pointers to batches, packed. Never the data.
 *
 *   byte 0        version, 1
 *   byte 1        number of pointers - 1
 *   per pointer   varint zigzag(batch id - previous batch id), varint zigzag(lane id - previous lane id), varint publish number
 *
 * Batches of one relay turn have near ids and few lanes, so a pointer takes about 6 bytes. Varints are LEB128 in their shortest form: one list, one encoding.
 * A reader that does not know the version must treat the message as a bare wake-up: it says "look into the queue", which is always right. An
 * empty list is the byte 0: a bare wake-up on purpose.
 */
import { type BatchId, type LaneId, OneDataError, toBatchId, toLaneId } from "@onedata/core";

export type Pointer = { readonly batchId: BatchId; readonly laneId: LaneId /** `queue.publish_seq`, 31 bits. */; readonly publishSeq: number };

export const MAX_POINTERS = 256;

const VERSION = 1;
const WAKE_UP = 0;
const MAX_ID = 2n ** 63n - 1n;
const MAX_PUBLISH_SEQ = 2 ** 31 - 1;

/** Throws `internal` for more than MAX_POINTERS, or a number out of range. */
export function encodePointers(pointers: readonly Pointer[]): Uint8Array {
  if (pointers.length === 0) return Uint8Array.of(WAKE_UP);
  if (pointers.length > MAX_POINTERS) {
    throw new OneDataError("internal", `a broker message packs at most ${MAX_POINTERS} pointers, not ${pointers.length}`);
  }
  const bytes: number[] = [VERSION, pointers.length - 1];
  let batchId = 0n;
  let laneId = 0n;
  for (const pointer of pointers) {
    if (!inRange(pointer.batchId, MAX_ID) || !inRange(pointer.laneId, MAX_ID) || !inRange(BigInt(pointer.publishSeq), BigInt(MAX_PUBLISH_SEQ))) {
      throw new OneDataError("internal", `pointer out of range: batch ${pointer.batchId}, lane ${pointer.laneId}, publish ${pointer.publishSeq}`);
    }
    writeVarint(bytes, zigzag(pointer.batchId - batchId));
    writeVarint(bytes, zigzag(pointer.laneId - laneId));
    writeVarint(bytes, BigInt(pointer.publishSeq));
    batchId = pointer.batchId;
    laneId = pointer.laneId;
  }
  return Uint8Array.from(bytes);
}

/** Throws `broker.message_malformed` for anything that `encodePointers` does not make. */
export function decodePointers(body: Uint8Array): readonly Pointer[] {
  if (body.length === 1 && body[0] === WAKE_UP) return [];
  if (body[0] !== VERSION) throw malformed(`version ${body[0] ?? "missing"}, known: ${VERSION}`);
  const count = body[1];
  if (count === undefined) throw malformed("no count");
  const reader = { body, at: 2 };
  const pointers: Pointer[] = [];
  let batchId = 0n;
  let laneId = 0n;
  for (let i = 0; i <= count; i += 1) {
    batchId += unzigzag(readVarint(reader));
    laneId += unzigzag(readVarint(reader));
    const publishSeq = readVarint(reader);
    if (!inRange(batchId, MAX_ID) || !inRange(laneId, MAX_ID) || publishSeq > BigInt(MAX_PUBLISH_SEQ))
      throw malformed(`pointer ${i} is out of range`);
    pointers.push({ batchId: toBatchId(batchId), laneId: toLaneId(laneId), publishSeq: Number(publishSeq) });
  }
  if (reader.at !== body.length) throw malformed(`${body.length - reader.at} bytes too many`);
  return pointers;
}

const inRange = (value: bigint, max: bigint): boolean => value >= 0n && value <= max;
const zigzag = (value: bigint): bigint => (value >= 0n ? value << 1n : (-value << 1n) - 1n);
const unzigzag = (value: bigint): bigint => ((value & 1n) === 0n ? value >> 1n : -((value + 1n) >> 1n));

function writeVarint(bytes: number[], value: bigint): void {
  let rest = value;
  while (rest >= 0x80n) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
}

function readVarint(reader: { readonly body: Uint8Array; at: number }): bigint {
  let value = 0n;
  for (let shift = 0n; shift < 70n; shift += 7n) {
    const byte = reader.body[reader.at];
    if (byte === undefined) throw malformed("cut off");
    reader.at += 1;
    value |= BigInt(byte & 0x7f) << shift;
    if (byte >= 0x80) continue;
    if (byte === 0 && shift > 0n) throw malformed(`a varint at byte ${reader.at - 1} is not in its shortest form`);
    return value;
  }
  throw malformed(`a varint before byte ${reader.at} is too long`);
}

const malformed = (why: string): OneDataError => new OneDataError("broker.message_malformed", `broker message: ${why}`);
