/**
 * What a spec's author may have meant otherwise, told when the spec is applied. Warnings only: each may be right.
 * - a bare word where text was meant: `set: {country: "NO"}` is the member `NO`;
 * - a member that `input.schema` does not have, with the one that is near.
 */
import { isJsonObject, type Json, type JsonObject, type OperationDescription, toPointer, type Violation } from "@onedata/core";
import { compileExpression, type Expression } from "./expression/index.ts";
import { closest } from "./schema/closest.ts";

const BARE_WORD = /^[A-Za-z_][A-Za-z0-9_]*$/;

/**
 * Pointers lead into the config. `known` are the record's members at this step, undefined when they cannot be known (no schema, or an earlier step adds members).
 * Expressions that do not compile are `checkConfig`'s business.
 */
export function warnExpressions(
  description: Pick<OperationDescription, "configSchema">,
  config: Json,
  known?: readonly string[],
): readonly Violation[] {
  const warnings: Violation[] = [];
  for (const { source, path, isAssigned } of findExpressions(description.configSchema, config, [])) {
    const pointer = toPointer(path);
    const expression = tryCompile(source);
    if (expression === undefined) continue;
    const unknown = known === undefined ? [] : expression.paths.filter((name) => !known.includes(name));
    // Without a schema only the spelling speaks: capitals, and more than the member's own name on the left.
    if (isAssigned && BARE_WORD.test(source) && (known === undefined ? /^[A-Z][A-Z0-9_]*$/.test(source) : unknown.includes(source))) {
      warnings.push({
        pointer,
        code: "expression.bare_word",
        detail: `${source} is the member of that name, not text: write '${source}' in single quotes inside the expression if text was meant`,
      });
      continue;
    }
    for (const name of unknown) {
      const near = closest(name, known ?? []);
      warnings.push({
        pointer,
        code: "expression.unknown_path",
        detail: `the input schema has no member "${name}"${near === undefined ? "" : `; did you mean "${near}"?`}`,
      });
    }
  }
  return warnings;
}

/** The record's members as a schema declares them; undefined when it does not say, or allows others by name. */
export function declaredMembers(schema: Json | undefined): readonly string[] | undefined {
  if (!isJsonObject(schema) || !isJsonObject(schema["properties"])) return undefined;
  for (const open of ["$ref", "allOf", "anyOf", "oneOf", "if", "patternProperties", "additionalProperties"]) {
    if (schema[open] !== undefined && schema[open] !== false) return undefined;
  }
  const required = Array.isArray(schema["required"]) ? schema["required"].filter((name) => typeof name === "string") : [];
  return [...new Set([...Object.keys(schema["properties"]), ...required])];
}

type Found = {
  readonly source: string;
  readonly path: readonly (string | number)[] /** Its value is stored, so text is likely. */;
  readonly isAssigned: boolean;
};

/** Follows the config along its schema to every `format: "jsonata"`. */
function findExpressions(schema: Json | undefined, config: Json, path: readonly (string | number)[]): Found[] {
  if (!isJsonObject(schema)) return [];
  if (typeof config === "string") return schema["format"] === "jsonata" ? [{ source: config, path, isAssigned: path.length > 1 }] : [];
  if (Array.isArray(config)) return config.flatMap((item, i) => findExpressions(schema["items"], item, [...path, i]));
  if (!isJsonObject(config)) return [];
  const properties: JsonObject = isJsonObject(schema["properties"]) ? schema["properties"] : {};
  return Object.entries(config).flatMap(([name, item]) =>
    findExpressions(Object.hasOwn(properties, name) ? properties[name] : schema["additionalProperties"], item, [...path, name]),
  );
}

function tryCompile(source: string): Expression | undefined {
  try {
    return compileExpression(source);
  } catch {
    return undefined;
  }
}
