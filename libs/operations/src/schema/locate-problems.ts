/** Where a schema has what the compiler refused: it stops at the first fault and does not say where that stands. */
import { didYouMean, isJsonObject, type Json, type JsonObject, toPointer, type Violation } from "@onedata/core";
import type { Ajv2020 } from "ajv/dist/2020.js";
import { resolveReference } from "./references.ts";

type Path = readonly (string | number)[];

/** Keywords whose value is a schema, a list of schemas, or schemas by name. */
const ONE = [
  "additionalProperties",
  "contains",
  "contentSchema",
  "else",
  "if",
  "items",
  "not",
  "propertyNames",
  "then",
  "unevaluatedItems",
  "unevaluatedProperties",
];
const LIST = ["allOf", "anyOf", "oneOf", "prefixItems"];
const NAMED = ["$defs", "definitions", "dependentSchemas", "patternProperties", "properties"];

/** Unknown keywords and formats, and references that lead nowhere; empty when it is something else. */
export function locateProblems(ajv: Ajv2020, root: JsonObject): Violation[] {
  const known = Object.keys(ajv.RULES.keywords);
  const problems: Violation[] = [];
  const visit = (schema: Json | undefined, path: Path): void => {
    if (!isJsonObject(schema)) return;
    const at = (name: string, code: string, detail: string): void => void problems.push({ pointer: toPointer([...path, name]), code, detail });
    for (const name of Object.keys(schema))
      if (!known.includes(name)) at(name, "unknown", `unknown keyword ${JSON.stringify(name)}${didYouMean(name, known)}: leave it out`);
    const { $ref: reference, format } = schema;
    if (typeof reference === "string" && reference.startsWith("#") && resolveReference(root, reference) === undefined)
      at("$ref", "$ref", `the reference ${JSON.stringify(reference)} leads nowhere: nothing stands there in this schema`);
    if (typeof format === "string" && !Object.hasOwn(ajv.formats, format))
      at(
        "format",
        "format",
        `unknown format ${JSON.stringify(format)}${didYouMean(format, Object.keys(ajv.formats))}: leave it out, or take a pattern`,
      );
    for (const name of ONE) visit(schema[name], [...path, name]);
    for (const name of LIST) {
      const list = schema[name];
      if (Array.isArray(list)) for (const [i, item] of list.entries()) visit(item, [...path, name, i]);
    }
    for (const name of NAMED) {
      const named = schema[name];
      if (isJsonObject(named)) for (const [key, item] of Object.entries(named)) visit(item, [...path, name, key]);
    }
  };
  visit(root, []);
  return problems;
}
