/**
 * Checks an operation's config against its description: the JSON Schema, and what a schema cannot say.
 * `format: "jsonata"` strings are compiled as expressions, `format: "re2"` as patterns, `member-path`, `date-format` and `time-zone` as what they say; `x-json-schema: true` marks a JSON Schema.
 * Every problem has a JSON Pointer into the config and says what to do.
 */
import { isJsonObject, type Json, type JsonObject, OneDataError, type OperationDescription, type Violation } from "@onedata/core";
import type { Ajv2020, ErrorObject, ValidateFunction } from "ajv/dist/2020.js";
import { compileExpression } from "./expression/index.ts";
import { parseMemberPath } from "./member-path.ts";
import { createDateReader } from "./record.cast/date-format.ts";
import { compileWith, createAjv, schemaProblems } from "./schema/compile-schema.ts";
import { patternProblem } from "./schema/regexp.ts";
import { isSummary, pointerOf, toViolations } from "./schema/violations.ts";

/** Formats of our own: what is wrong with the text, or undefined. */
const textChecks: Readonly<Record<string, (text: string) => string | undefined>> = {
  jsonata: (text) => problemOf(() => compileExpression(text)),
  re2: patternProblem,
  "member-path": (text) => problemOf(() => parseMemberPath(text)),
  "date-format": (text) => problemOf(() => createDateReader(text)),
  "time-zone": (text) => problemOf(() => createDateReader("unix", text)),
};

// Caches of pure results: a description's schema never changes.
let compiler: Ajv2020 | undefined;
const validators = new WeakMap<JsonObject, ValidateFunction>();

/** No violation: the config fits. Throws `config.invalid` when the description's own schema is broken (a service's fault, not the user's). */
export function checkConfig(description: Pick<OperationDescription, "configSchema">, config: Json): readonly Violation[] {
  let validate = validators.get(description.configSchema);
  if (validate === undefined) {
    compiler ??= createConfigAjv();
    validate = compileWith(compiler, description.configSchema);
    validators.set(description.configSchema, validate);
  }
  if (validate(config)) return [];
  const errors = validate.errors ?? [];
  const explained = errors.flatMap(explain);
  const others = errors.filter((error) => explain(error).length === 0 && !(explained.length > 0 && isSummary(error)));
  return [...toViolations(others), ...explained];
}

/** Throws `config.invalid` with all violations. What every `compile` begins with. */
export function requireConfig(description: OperationDescription, config: Json): JsonObject {
  throwViolations(description, checkConfig(description, config));
  return isJsonObject(config) ? config : {};
}

export function throwViolations(description: OperationDescription, violations: readonly Violation[]): void {
  if (violations.length === 0) return;
  const list = violations.map((v) => `${v.pointer === "" ? "the config" : v.pointer}: ${v.detail}`).join("; ");
  throw new OneDataError("config.invalid", `${description.name}: ${list}`, { violations });
}

function createConfigAjv(): Ajv2020 {
  const ajv = createAjv("all");
  for (const [name, problem] of Object.entries(textChecks)) ajv.addFormat(name, (text: string) => problem(text) === undefined);
  ajv.addKeyword({
    keyword: "x-json-schema",
    schemaType: "boolean",
    validate: (on: boolean, schema: Json) => !on || schemaProblems(schema).length === 0,
    error: { message: "must be a JSON Schema" },
  });
  return ajv;
}

/** The real reasons behind the formats and keywords above. */
function explain(error: ErrorObject): Violation[] {
  // `verbose` makes ajv keep the value; it came in as JSON.
  const value = error.data as Json | undefined;
  if (error.keyword === "x-json-schema") return schemaProblems(value ?? null).map((v) => ({ ...v, pointer: error.instancePath + v.pointer }));
  if (error.keyword !== "format" || typeof value !== "string") return [];
  const format: unknown = error.params["format"];
  const check = typeof format === "string" && Object.hasOwn(textChecks, format) ? textChecks[format] : undefined;
  const detail = check?.(value);
  return detail === undefined ? [] : [{ pointer: pointerOf(error), code: String(format), detail }];
}

function problemOf(act: () => unknown): string | undefined {
  try {
    act();
    return undefined;
  } catch (error) {
    return OneDataError.from(error).message;
  }
}
