/**
 * Protobuf messages as data: a table of fields makes encoder, decoder and TypeScript type. For the few messages of KubeMQ's contract that are needed here.
 * Rules of proto3: default values are not written, unknown fields are skipped, repeated numbers are packed.
 */
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

export type Field<T> = {
  readonly no: number;
  readonly initial: () => T;
  write(writer: BinaryWriter, value: T): void;
  read(reader: BinaryReader, wireType: WireType, soFar: T): T;
};

// A table holds fields of any type: `unknown` and `never` both break the inference of Values.
// oxlint-disable-next-line typescript/no-explicit-any
type Fields = { readonly [name: string]: Field<any> };
type Values<F extends Fields> = { -readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never };

export type Codec<T> = {
  /** The whole value, from a part of it. */
  readonly of: (part?: Partial<T>) => T;
  readonly encode: (value: T) => Buffer;
  readonly decode: (bytes: Uint8Array) => T;
  readonly write: (writer: BinaryWriter, value: T) => void;
};

export type MessageOf<C> = C extends Codec<infer T> ? T : never;

export function message<F extends Fields>(fields: F): Codec<Values<F>> {
  const names = Object.keys(fields);
  const byNo = new Map(names.map((name) => [field(name).no, name]));
  function field(name: string): Field<unknown> {
    const found = fields[name];
    if (found === undefined) throw new Error(`no field ${name}`);
    return found;
  }
  // The table is the type: what these functions build has exactly its names and types.
  type Value = Values<F>;
  const of = (part?: Partial<Value>): Value => {
    const whole: { [name: string]: unknown } = {};
    for (const name of names) whole[name] = part?.[name] ?? field(name).initial();
    return whole as Value;
  };
  const write = (writer: BinaryWriter, value: Value): void => {
    for (const name of names) field(name).write(writer, value[name]);
  };
  return {
    of,
    write,
    encode(value) {
      const writer = new BinaryWriter();
      write(writer, value);
      return Buffer.from(writer.finish());
    },
    decode(bytes) {
      const reader = new BinaryReader(bytes);
      const whole: { [name: string]: unknown } = of();
      while (reader.pos < reader.len) {
        const [no, wireType] = reader.tag();
        const name = byNo.get(no);
        if (name === undefined) reader.skip(wireType, no);
        else whole[name] = field(name).read(reader, wireType, whole[name]);
      }
      return whole as Value;
    },
  };
}

const scalar = <T>(
  no: number,
  initial: T,
  wireType: WireType,
  put: (writer: BinaryWriter, value: T) => unknown,
  get: (reader: BinaryReader) => T,
): Field<T> => ({
  no,
  initial: () => initial,
  write(writer, value) {
    if (value !== initial) put(writer.tag(no, wireType), value);
  },
  read: get,
});

export const string = (no: number): Field<string> =>
  scalar(
    no,
    "",
    WireType.LengthDelimited,
    (writer, value) => writer.string(value),
    (reader) => reader.string(),
  );
export const bool = (no: number): Field<boolean> =>
  scalar(
    no,
    false,
    WireType.Varint,
    (writer, value) => writer.bool(value),
    (reader) => reader.bool(),
  );
export const int32 = (no: number): Field<number> =>
  scalar(
    no,
    0,
    WireType.Varint,
    (writer, value) => writer.int32(value),
    (reader) => reader.int32(),
  );
/** Nanoseconds do not fit a number. */
export const int64 = (no: number): Field<bigint> =>
  scalar(
    no,
    0n,
    WireType.Varint,
    (writer, value) => writer.int64(value),
    (reader) => BigInt(reader.int64()),
  );

const NO_BYTES = new Uint8Array();
export const bytes = (no: number): Field<Uint8Array> => ({
  no,
  initial: () => NO_BYTES,
  write(writer, value) {
    if (value.length > 0) writer.tag(no, WireType.LengthDelimited).bytes(value);
  },
  read: (reader) => reader.bytes(),
});

export const one = <T>(no: number, codec: Codec<T>): Field<T | undefined> => ({
  no,
  initial: () => undefined,
  write(writer, value) {
    if (value !== undefined) writeNested(writer, no, codec, value);
  },
  read: (reader) => codec.decode(reader.bytes()),
});

export const many = <T>(no: number, codec: Codec<T>): Field<T[]> => ({
  no,
  initial: () => [],
  write(writer, values) {
    for (const value of values) writeNested(writer, no, codec, value);
  },
  read(reader, _wireType, soFar) {
    soFar.push(codec.decode(reader.bytes()));
    return soFar;
  },
});

export const manyInt64 = (no: number): Field<bigint[]> => ({
  no,
  initial: () => [],
  write(writer, values) {
    if (values.length === 0) return;
    writer.tag(no, WireType.LengthDelimited).fork();
    for (const value of values) writer.int64(value);
    writer.join();
  },
  read(reader, wireType, soFar) {
    const end = wireType === WireType.LengthDelimited ? reader.uint32() + reader.pos : reader.pos + 1;
    while (reader.pos < end) soFar.push(BigInt(reader.int64()));
    return soFar;
  },
});

function writeNested<T>(writer: BinaryWriter, no: number, codec: Codec<T>, value: T): void {
  writer.tag(no, WireType.LengthDelimited).fork();
  codec.write(writer, value);
  writer.join();
}
