/** As much of the protobuf wire format as reading an OTLP body takes: fields by number, each with its values in order. For tests. */
export type Fields = ReadonlyMap<number, readonly (Buffer | bigint)[]>;

export function readFields(bytes: Buffer): Fields {
  const fields = new Map<number, (Buffer | bigint)[]>();
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes.readUInt8(at++);
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  const take = (length: number): Buffer => {
    if (at + length > bytes.length) throw new RangeError(`a field of ${length} bytes at ${at} of ${bytes.length}`);
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    const values = fields.get(tag >> 3) ?? [];
    fields.set(tag >> 3, values);
    switch (tag & 7) {
      case 0:
        values.push(varint());
        break;
      case 1:
        values.push(take(8).readBigUInt64LE());
        break;
      case 2:
        values.push(take(Number(varint())));
        break;
      case 5:
        values.push(BigInt(take(4).readUInt32LE()));
        break;
      default:
        throw new RangeError(`wire type ${tag & 7} at ${at}`);
    }
  }
  return fields;
}

export const messagesAt = (fields: Fields, field: number): readonly Buffer[] =>
  (fields.get(field) ?? []).filter((value): value is Buffer => typeof value !== "bigint");
export const numberAt = (fields: Fields, field: number): bigint => {
  const value = fields.get(field)?.at(-1);
  return typeof value === "bigint" ? value : 0n;
};
export const textAt = (fields: Fields, field: number, encoding: BufferEncoding = "utf8"): string =>
  (messagesAt(fields, field).at(-1) ?? Buffer.alloc(0)).toString(encoding);
