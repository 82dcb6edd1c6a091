import { OneDataError, toBatchId, toLaneId } from "@onedata/core";
import fc from "fast-check";
import { expect, it } from "vitest";
import { MAX_BODY_BYTES } from "./broker.ts";
import { decodePointers, encodePointers, MAX_POINTERS, type Pointer } from "./pointers.ts";

const MAX_ID = 2n ** 63n - 1n;
const id = fc.oneof(fc.bigInt({ min: 0n, max: MAX_ID }), fc.bigInt({ min: 1n << 60n, max: (1n << 60n) + 1000n }), fc.constantFrom(0n, MAX_ID));
const pointer = fc
  .record({ batchId: id, laneId: id, publishSeq: fc.nat(2 ** 31 - 1) })
  .map(({ batchId, laneId, publishSeq }): Pointer => ({ batchId: toBatchId(batchId), laneId: toLaneId(laneId), publishSeq }));
const pointers = fc.array(pointer, { maxLength: MAX_POINTERS });

it("reads back what it packed, and the largest list fits one body", () => {
  fc.assert(
    fc.property(pointers, (list) => {
      const body = encodePointers(list);
      expect(decodePointers(body)).toEqual(list);
      expect(body.length).toBeLessThanOrEqual(MAX_BODY_BYTES / 2);
    }),
  );
});

it("has one encoding per list: bytes either fail as malformed or are what their list encodes to", () => {
  const almost = fc.tuple(pointers, fc.nat(), fc.integer({ min: 0, max: 255 })).map(([list, at, byte]) => {
    const body = encodePointers(list);
    body[at % body.length] = byte;
    return body;
  });
  fc.assert(
    fc.property(fc.oneof(almost, fc.constant(encodePointers([])), fc.uint8Array({ maxLength: 60 })), (body) => {
      let list: readonly Pointer[];
      try {
        list = decodePointers(body);
      } catch (error) {
        expect(error).toBeInstanceOf(OneDataError);
        expect(error).toMatchObject({ code: "broker.message_malformed" });
        return;
      }
      expect(encodePointers(list)).toEqual(body);
    }),
    { numRuns: 1000 },
  );
});

it("refuses every cut and every appended byte", () => {
  fc.assert(
    fc.property(fc.array(pointer, { minLength: 1, maxLength: 5 }), fc.nat(), (list, cut) => {
      const body = encodePointers(list);
      expect(() => decodePointers(body.subarray(0, cut % body.length))).toThrow("broker message");
      expect(() => decodePointers(Uint8Array.from([...body, 0]))).toThrow("1 bytes too many");
    }),
  );
});

it("refuses to pack too much, and numbers out of range", () => {
  const one: Pointer = { batchId: toBatchId(1n), laneId: toLaneId(2n), publishSeq: 3 };
  expect(() => encodePointers(new Array<Pointer>(257).fill(one))).toThrow("not 257");
  for (const bad of [{ batchId: toBatchId(-1n) }, { laneId: toLaneId(MAX_ID + 1n) }, { publishSeq: 2 ** 31 }]) {
    expect(() => encodePointers([{ ...one, ...bad }])).toThrow("out of range");
  }
});

it("keeps its bytes: processes of two releases read each other", () => {
  const list = [
    { batchId: toBatchId(1_000_000n), laneId: toLaneId(7n), publishSeq: 1 },
    { batchId: toBatchId(1_000_003n), laneId: toLaneId(6n), publishSeq: 300 },
  ];
  expect(Buffer.from(encodePointers(list)).toString("hex")).toBe("0101" + "80897a" + "0e" + "01" + "06" + "01" + "ac02");
});

it("packs a usual list in about six bytes each", () => {
  const usual = Array.from({ length: 256 }, (_, i) => ({
    batchId: toBatchId((1_790_000_000_000n << 20n) + BigInt(i) * 1_100_000n),
    laneId: toLaneId(500n + BigInt(i % 40)),
    publishSeq: 1,
  }));
  expect(encodePointers(usual).length).toBeLessThan(256 * 7);
});
