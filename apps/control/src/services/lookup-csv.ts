/** Rows of an uploaded list from CSV. A list is whole or refused: unlike an import, it has no rejected lines. */
import { isJsonObject, type JsonObject, OneDataError, type Violation } from "@onedata/core";
import { readCsv } from "@onedata/formats";

const MAX_SHOWN = 100;

/** Every value is text, as CSV has it. Throws `lookup.invalid` with the lines that are wrong. */
export async function readCsvRows(content: Uint8Array): Promise<JsonObject[]> {
  const rows: JsonObject[] = [];
  const violations: Violation[] = [];
  try {
    for await (const items of readCsv(once(content))) {
      for (const item of items) {
        if (item.kind === "record") {
          if (isJsonObject(item.value)) rows.push(item.value);
        } else if (violations.length < MAX_SHOWN) {
          violations.push({ pointer: "", code: item.code, detail: `line ${item.line}: ${item.message}` });
        }
      }
    }
  } catch (error) {
    const known = OneDataError.from(error);
    if (known.code !== "import.malformed") throw known;
    violations.push({ pointer: "", code: known.code, detail: known.message });
  }
  if (violations.length > 0) throw invalid(violations);
  return rows;
}

async function* once(content: Uint8Array): AsyncGenerator<Uint8Array> {
  yield content;
}

export const invalid = (violations: readonly Violation[]): OneDataError => {
  const [first] = violations;
  return new OneDataError(
    "lookup.invalid",
    `the list cannot be used: ${first?.pointer ?? ""} ${first?.detail ?? ""}${violations.length > 1 ? ` (and ${violations.length - 1} more)` : ""}`,
    { violations },
  );
};
