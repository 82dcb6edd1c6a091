/** Whether a record makes a row of a CSV file: asked before its event is complete, as a file that is written later can send nothing to the dead letters any more. */
import { isJsonObject, type Json } from "../json.ts";
import type { PlanSink } from "../plan/plan.ts";

/** What is wrong with the record, if anything. A row needs a member under at least one of the columns of `file.csv`; what is no object is its `value`, as in the file. */
export function csvRowProblem(sink: PlanSink, json: Uint8Array): string | undefined {
  const columns = columnsOf(sink);
  if (columns === undefined) return undefined;
  const record: Json = JSON.parse(decoder.decode(json));
  const members = isJsonObject(record) ? record : { value: record };
  if (columns.some((column) => Object.hasOwn(members, column))) return undefined;
  const what = isJsonObject(record) ? "has none of the columns" : 'is no object, so it would be the column "value", which is not among';
  return `the record ${what} ${columns.slice(0, MAX_SHOWN).join(", ")}${columns.length > MAX_SHOWN ? ", …" : ""}: its row would be empty; correct the columns or the record, or filter it out before`;
}

const MAX_SHOWN = 10;
const decoder = new TextDecoder();

function columnsOf({ kind, config }: PlanSink): readonly string[] | undefined {
  const columns = kind === "file.csv" && isJsonObject(config) ? config["columns"] : undefined;
  return Array.isArray(columns) ? columns.filter((column) => typeof column === "string") : undefined;
}
