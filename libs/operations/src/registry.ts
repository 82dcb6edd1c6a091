/** Every operation of this library. A new one is a folder and a line here. */
import { enrichLookup } from "./enrich.lookup/operation.ts";
import type { Operation } from "./operation.ts";
import { parseCsvText } from "./parse.csv/operation.ts";
import { parseJsonText } from "./parse.json/operation.ts";
import { recordCast } from "./record.cast/operation.ts";
import { recordExplode } from "./record.explode/operation.ts";
import { recordFilter } from "./record.filter/operation.ts";
import { recordMap } from "./record.map/operation.ts";
import { recordPick } from "./record.pick/operation.ts";
import { recordRename } from "./record.rename/operation.ts";
import { recordValidate } from "./record.validate/operation.ts";

export const operations: readonly Operation[] = [
  recordMap,
  recordPick,
  recordRename,
  recordFilter,
  recordValidate,
  recordExplode,
  recordCast,
  enrichLookup,
  parseCsvText,
  parseJsonText,
];

export function findOperation(name: string): Operation | undefined {
  return operations.find((operation) => operation.description.name === name);
}
