/** CSV rows: fields of a record's text, and the JSON object they make under their columns. */
import { type Json, type JsonObject, OneDataError, setMember } from "@onedata/core";
import type { Fault } from "./json-check.ts";

/** What an empty field becomes: the empty string, null, or no member at all. */
export type EmptyAs = "string" | "null" | "omit";

export type Row = { readonly text: string; readonly value: JsonObject };

/** The record is complete and its quotes are balanced: the splitter has seen to that. */
export function splitFields(record: string, delimiter: string): string[] {
  if (!record.includes('"')) return record.split(delimiter);
  const fields: string[] = [];
  let at = 0;
  for (;;) {
    if (record[at] === '"') {
      let close = record.indexOf('"', at + 1);
      while (record[close + 1] === '"') close = record.indexOf('"', close + 2);
      fields.push(record.slice(at + 1, close).replaceAll('""', '"'));
      at = close + 1;
    } else {
      const next = record.indexOf(delimiter, at);
      fields.push(record.slice(at, next === -1 ? undefined : next));
      at = next === -1 ? record.length : next;
    }
    if (at >= record.length) return fields;
    at += 1;
    if (at === record.length) {
      fields.push("");
      return fields;
    }
  }
}

/** Column names of a header row, mapped. Throws `import.malformed`. */
export function toColumns(names: readonly string[], rename: Readonly<Record<string, string>>): string[] {
  const trimmed = names.map((name) => name.trim());
  for (const name of Object.keys(rename)) {
    if (!trimmed.includes(name))
      throw new OneDataError("import.malformed", `the header has no column "${name}"; it has ${trimmed.join(", ")}: correct the mapping`);
  }
  const columns = trimmed.map((name) => (Object.hasOwn(rename, name) ? (rename[name] ?? name) : name));
  for (const [i, name] of columns.entries()) {
    if (name === "")
      throw new OneDataError(
        "import.malformed",
        `column ${i + 1} of the header has no name: name every column, or give the columns with the request`,
      );
    if (columns.indexOf(name) !== i) throw new OneDataError("import.malformed", `the header names "${name}" twice: rename one of the columns`);
  }
  return columns;
}

/** A fault `import.row_malformed` when the number of fields is not that of the columns. */
export function createRowReader(columns: readonly string[], delimiter: string, emptyAs: EmptyAs): (fields: readonly string[]) => Row | Fault {
  const keys = columns.map((name) => `${JSON.stringify(name)}:`);
  return (fields) => {
    if (fields.length !== columns.length) return wrongCount(fields, columns, delimiter);
    const value: JsonObject = {};
    let text = "{";
    for (let i = 0; i < columns.length; i++) {
      const field = fields[i] ?? "";
      if (field === "" && emptyAs === "omit") continue;
      const json: Json = field === "" && emptyAs === "null" ? null : field;
      setMember(value, columns[i] ?? "", json);
      text += (text.length > 1 ? "," : "") + (keys[i] ?? "") + JSON.stringify(json);
    }
    return { text: `${text}}`, value };
  };
}

function wrongCount(fields: readonly string[], columns: readonly string[], delimiter: string): Fault {
  const shown = delimiter === "\t" ? "tab" : `"${delimiter}"`;
  const counts = `the row has ${fields.length} ${fields.length === 1 ? "field" : "fields"}, the header names ${columns.length}`;
  const advice =
    fields.length > columns.length
      ? `put a field that holds a ${shown} in double quotes`
      : `the first missing one is "${columns[fields.length] ?? ""}"; write an empty field for each, and check that the delimiter is ${shown}`;
  return { code: "import.row_malformed", message: `${counts}: ${advice}` };
}
