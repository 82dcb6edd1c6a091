/**
 * Records to rows: which member goes to which column, and what no table could take.
 *
 * Duty: cheap checks before the database sees a record. Non-duty: types; the database casts, so a numeric column keeps every digit of the JSON text.
 * Invariant: a row's `text` is the record's own JSON text whenever nothing had to change, so no number passes through a double.
 */
import { isJsonObject, type Json, type JsonObject, setMember } from "@onedata/core";
import { parseJson, stringifyJson } from "@onedata/formats";
import { refused, type SinkRecord, type SourceEvent, type WriteOutcome } from "../sink.ts";
import type { PostgresSinkConfig } from "./sink-config.ts";
import { shorten } from "./sqlstate.ts";
import type { Table } from "./tables.ts";

export type Row = {
  /** Present columns in the table's order. */
  readonly columns: readonly string[];
  /** Of the present columns, those whose absence would mean a default: rows of different ones cannot share an insert. */
  readonly signature: string;
  /** A JSON object whose members are named like the columns (others are ignored). */
  readonly text: string;
  readonly value: JsonObject;
  /** Equal for rows of one key; "" without key. */
  readonly foldKey: string;
  /** (batch, ordinal) of the source event. */
  readonly position: readonly [bigint, number];
};

export type RowReader = (record: SinkRecord) => { readonly row: Row } | { readonly refusal: WriteOutcome };

type Shape = {
  readonly columns: readonly string[];
  readonly signature: string;
  readonly unknown: readonly string[];
  readonly closed: readonly string[];
};

export function createRowReader(config: PostgresSinkConfig, table: Table): RowReader {
  const shapes = new Map<string, Shape>();
  const shapeOf = (members: readonly string[]): Shape => {
    const key = members.join("\u0000");
    const known = shapes.get(key);
    if (known !== undefined) return known;
    const shape = toShape(members, config, table);
    // Messy records could make a shape each: the cache is for the common case.
    if (shapes.size < 256) shapes.set(key, shape);
    return shape;
  };

  return (record) => {
    let value: Json;
    try {
      value = parseJson(record.json);
    } catch {
      return { refusal: refused("sink.unstorable", `the record is not JSON: ${shorten(record.json)}`) };
    }
    if (!isJsonObject(value)) return { refusal: refused("record.not_an_object", `a row needs a JSON object, the record is ${shorten(record.json)}`) };
    let object = config.columns === undefined ? value : mapped(value, config.columns);
    let text = config.columns === undefined ? record.json : "";
    const shape = shapeOf(Object.keys(object));
    const [unknown] = shape.unknown;
    if (unknown !== undefined && config.unknownMembers === "reject" && config.columns === undefined) {
      return {
        refusal: refused(
          "sink.rejected",
          `member ${JSON.stringify(shorten(unknown))} has no column in ${table.schema}.${table.table}: add the column, drop the member in a step, or set unknownMembers to ignore`,
        ),
      };
    }
    const [closed] = shape.closed;
    if (closed !== undefined)
      return {
        refusal: refused("sink.rejected", `column ${JSON.stringify(closed)} of ${table.schema}.${table.table} is generated and takes no value`),
      };
    if (shape.columns.length === 0)
      return { refusal: refused("sink.rejected", `no member of the record is a column of ${table.schema}.${table.table}: ${shorten(record.json)}`) };
    if (text === "" || hasNul(text)) {
      const needed: JsonObject = {};
      for (const column of shape.columns) {
        const item = object[column] ?? null;
        if (item !== null && hasNul(stringifyJson(item)))
          return {
            refusal: refused(
              "sink.unstorable",
              `column ${JSON.stringify(column)}: the value holds \\u0000, which Postgres cannot store: ${shorten(stringifyJson(item))}`,
            ),
          };
        setMember(needed, column, item);
      }
      object = needed;
      text = stringifyJson(needed);
    }
    for (const column of config.key ?? []) {
      if ((object[column] ?? null) === null)
        return { refusal: refused("sink.rejected", `the key column ${JSON.stringify(column)} has no value in ${shorten(record.json)}`) };
    }
    const position = [orderOf(record.source), record.source.n] as const;
    const columns = config.newerWins === undefined ? shape.columns : inTableOrder([...shape.columns, config.newerWins], table);
    if (config.newerWins !== undefined) text = withMember(text, config.newerWins, positionText(position));
    return {
      row: {
        columns,
        signature: shape.signature,
        text,
        value: object,
        foldKey: config.key === undefined ? "" : foldKey(object, config.key),
        position,
      },
    };
  };
}

/** The rows that one after another would leave, each key once: members of later records win, an older event yields where newer ones win. */
export function foldRows(rows: readonly Row[], config: PostgresSinkConfig, table: Table): readonly Row[] {
  const byKey = new Map<string, Row>();
  for (const row of rows) {
    const before = byKey.get(row.foldKey);
    if (before === undefined) byKey.set(row.foldKey, row);
    else if (config.newerWins === undefined || !isBefore(row.position, before.position))
      byKey.set(row.foldKey, merge(before, row, { config, table }));
  }
  return byKey.size === rows.length ? rows : [...byKey.values()];
}

function merge(before: Row, after: Row, { config, table }: { config: PostgresSinkConfig; table: Table }): Row {
  if (before.columns.length === after.columns.length && before.columns.every((column, i) => column === after.columns[i])) return after;
  const value: JsonObject = {};
  for (const row of [before, after])
    for (const column of row.columns) if (Object.hasOwn(row.value, column)) setMember(value, column, row.value[column] ?? null);
  const columns = inTableOrder([...new Set([...before.columns, ...after.columns])], table);
  const text = stringifyJson(value);
  return { ...after, columns, value, text: config.newerWins === undefined ? text : withMember(text, config.newerWins, positionText(after.position)) };
}

function toShape(members: readonly string[], config: PostgresSinkConfig, table: Table): Shape {
  const known = members.filter((member) => table.columns.has(member) && member !== config.newerWins);
  const columns = inTableOrder(known, table);
  return {
    columns,
    signature: columns.filter((column) => table.columns.get(column)?.hasDefault === true).join("\u0000"),
    unknown: members.filter((member) => !table.columns.has(member)),
    closed: columns.filter((column) => table.columns.get(column)?.writable === false),
  };
}

export const inTableOrder = (columns: readonly string[], table: Table): readonly string[] => {
  const present = new Set(columns);
  return [...table.columns.keys()].filter((column) => present.has(column));
};

function mapped(value: JsonObject, columns: ReadonlyMap<string, string>): JsonObject {
  const result: JsonObject = {};
  for (const [column, from] of columns) {
    const found = from.startsWith("/") ? atPointer(value, from) : Object.hasOwn(value, from) ? value[from] : undefined;
    if (found !== undefined) setMember(result, column, found);
  }
  return result;
}

function atPointer(value: Json, pointer: string): Json | undefined {
  let at: Json | undefined = value;
  for (const segment of pointer.slice(1).split("/")) {
    const name = segment.replaceAll("~1", "/").replaceAll("~0", "~");
    if (Array.isArray(at)) at = /^(?:0|[1-9]\d{0,6})$/.test(name) ? at[Number(name)] : undefined;
    else at = isJsonObject(at) && Object.hasOwn(at, name) ? at[name] : undefined;
  }
  return at;
}

/** 1 and "1" name the same row of an integer key, so they fold; equalities only the column's type knows are left to the database. */
function foldKey(value: JsonObject, key: readonly string[]): string {
  return JSON.stringify(
    key.map((column) => {
      const item = value[column] ?? null;
      return typeof item === "string" ? item : stringifyJson(item);
    }),
  );
}

const isBefore = (a: Row["position"], b: Row["position"]): boolean => (a[0] === b[0] ? a[1] < b[1] : a[0] < b[0]);

/** One number that orders like (batch, ordinal): ordinals stay under a million. */
/** Every `seq` stands above every batch id: those were kept here by the release before, and come from engines of it. */
const orderOf = ({ seq, batchId }: SourceEvent): bigint => (seq === 0n ? batchId : ABOVE_IDS + seq);
const ABOVE_IDS = 1n << 63n;

const positionText = ([order, n]: Row["position"]): string => String(order * 1_000_000n + BigInt(n));

/** At the end, because the last of equal members wins. */
function withMember(text: string, member: string, literal: string): string {
  const body = text.trimEnd().slice(0, -1).trimEnd();
  return `${body}${body.endsWith("{") ? "" : ","}${JSON.stringify(member)}:${literal}}`;
}

/** `\u0000` as an escape, not the six characters behind an escaped backslash. */
const hasNul = (text: string): boolean => text.includes("\\u0000") && /(?<!\\)(?:\\\\)*\\u0000/.test(text);
