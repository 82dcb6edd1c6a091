/**
 * `compileSchema(schema)`: a customer's JSON Schema (2020-12) as a function that answers with violations.
 * Duty: bounds (size, depth, cost of references), linear-time patterns and formats, `uniqueItems` in linear time. One compiled check takes about a microsecond.
 * The work for one value is bounded too: it stops at the first error unless the value is small, and a large schema refuses a value that is too large for it.
 * Non-duty: remote references; a schema stands by itself.
 */

import { ExactNumber, isJsonObject, type Json, type JsonObject, OneDataError, type Violation } from "@onedata/core";
import { Ajv2020, str, type ValidateFunction } from "ajv/dist/2020.js";
import addFormatsModule from "ajv-formats";
import { withDoubles } from "../expression/exact.ts";
import { countNodes, measureBounds } from "./bounds.ts";
import { locateProblems } from "./locate-problems.ts";
import { isMultipleOf } from "./multiple-of.ts";
import { NO_SCHEMAS, referenceProblem } from "./references.ts";
import { compilePattern, patternProblem } from "./regexp.ts";
import { toViolations } from "./violations.ts";

/** No violation: the value matches. An `ExactNumber` is judged by its double. */
export type SchemaCheck = (value: Json) => readonly Violation[];

const DIALECT = "https://json-schema.org/draft/2020-12/schema";
const NONE: readonly Violation[] = [];
/** Formats are regular expressions of the format library, some worse than linear: longer text never has one of these formats. */
const MAX_FORMAT_LENGTH = 2048;
/** All errors of a value with more parts than this could be more text than the value. */
const MAX_NODES_FOR_ALL_ERRORS = 1_000;
/** Parts of the schema times parts of the value: about half a second. Only schemas larger than `SMALL_SCHEMA` can come near it. */
const MAX_WORK = 50_000_000;
const SMALL_SCHEMA = 100;
/** Annotations of OpenAPI and friends: they say nothing of the value. */
const ANNOTATIONS = ["example", "externalDocs", "xml"];

/** Throws `config.invalid` with violations whose pointers lead into the schema. */
export function compileSchema(schema: Json): SchemaCheck {
  const problems = schemaProblems(schema);
  if (problems.length > 0) throw invalidSchema(problems);
  const bounds = measureBounds(schema);
  return toCheck(schema, "expandedNodes" in bounds ? bounds.expandedNodes : 1);
}

/** What is wrong with a JSON Schema, with pointers into it. */
export function schemaProblems(schema: Json): readonly Violation[] {
  const bounds = measureBounds(schema);
  if ("problem" in bounds) return [bounds.problem];
  const reference = isJsonObject(schema) ? referenceProblem(schema) : undefined;
  if (reference !== undefined) return [reference];
  const patterns = patternProblems(schema, "");
  if (patterns.length > 0) return patterns;
  try {
    compileWith(compiler("first"), schema);
    return NONE;
  } catch (error) {
    return error instanceof OneDataError ? error.violations : [{ pointer: "", code: "schema", detail: String(error) }];
  }
}

/** Whether a check stops at the first error or finds them all. */
type Errors = "first" | "all";
const shared: Partial<Record<Errors, Ajv2020>> = {}; // made on first use: the dialect's own schema takes 40 ms to compile

function compiler(errors: Errors): Ajv2020 {
  return (shared[errors] ??= createAjv(errors));
}

export function createAjv(errors: Errors): Ajv2020 {
  const ajv = new Ajv2020({
    allErrors: errors === "all",
    verbose: true,
    strictTypes: false,
    strictTuples: false,
    strictRequired: false,
    validateSchema: false, // done by hand, for errors with pointers
    addUsedSchema: false,
    logger: false,
    code: { regExp: Object.assign((source: string) => compilePattern(source), { code: "onedata.compilePattern" }) },
  });
  // The package is CommonJS: under Node its default export is the function with a `default` of its own.
  addFormatsModule.default(ajv);
  for (const [name, format] of Object.entries(ajv.formats)) {
    const bounded = boundedFormat(format);
    if (bounded !== undefined && name !== "byte") ajv.addFormat(name, bounded);
  }
  ajv.addFormat("regex", (source: string) => patternProblem(source) === undefined);
  ajv.addVocabulary(ANNOTATIONS);
  ajv.removeKeyword("uniqueItems");
  ajv.addKeyword({
    keyword: "uniqueItems",
    type: "array",
    schemaType: "boolean",
    validate: (unique: boolean, items: Json[]) => !unique || allDifferent(items),
    error: { message: "must not have equal items" },
  });
  ajv.removeKeyword("multipleOf");
  ajv.addKeyword({
    keyword: "multipleOf",
    type: "number",
    schemaType: "number",
    compile: (divisor: number) => (value: number) => isMultipleOf(value, divisor),
    error: { message: ({ schemaCode }) => str`must be a multiple of ${schemaCode}` },
  });
  return ajv;
}

/** Throws `config.invalid`. */
export function compileWith(ajv: Ajv2020, schema: Json): ValidateFunction {
  if (typeof schema !== "boolean" && !isJsonObject(schema))
    throw invalidSchema([{ pointer: "", code: "type", detail: "a JSON Schema is an object, true or false" }]);
  const plain = withOwnId(withDoubles(schema, undefined));
  const dialect = typeof plain === "object" ? plain["$schema"] : undefined;
  if (dialect !== undefined && (typeof dialect !== "string" || !dialect.startsWith(DIALECT))) {
    throw invalidSchema([
      {
        pointer: "/$schema",
        code: "$schema",
        detail: `the dialect ${JSON.stringify(dialect)} is not known: leave $schema out, and write JSON Schema 2020-12`,
      },
    ]);
  }
  if (ajv.validateSchema(plain) !== true) throw invalidSchema(toViolations(ajv.errors ?? []));
  try {
    return ajv.compile(plain);
  } catch (error) {
    const located = typeof plain === "object" ? locateProblems(ajv, plain) : NONE;
    throw invalidSchema(
      located.length > 0 ? located : [{ pointer: "", code: "schema", detail: error instanceof Error ? error.message : String(error) }],
    );
  } finally {
    // The compiler outlives the schema: it must not remember it.
    if (typeof plain === "object") ajv.removeSchema(plain);
  }
}

/** The name of every schema while it is compiled: without one, the compiler does not find what `#` means. */
const OWN_ID = "onedata:schema";

/** A copy under that name: under its own, a schema would be visible to other schemas of the same compiler, and could take the name of the dialect. */
const withOwnId = (schema: Json): boolean | JsonObject => (isJsonObject(schema) ? { ...schema, $id: OWN_ID } : schema === true);

function toCheck(schema: Json, schemaNodes: number): SchemaCheck {
  const matches = compileWith(compiler("first"), schema);
  let explain: ValidateFunction | undefined;
  const limit = Math.floor(MAX_WORK / schemaNodes);
  const check = (value: Json): readonly Violation[] => {
    if (matches(value)) return NONE;
    const first = matches.errors ?? [];
    if (countNodes(value, MAX_NODES_FOR_ALL_ERRORS) > MAX_NODES_FOR_ALL_ERRORS) return toViolations(first);
    explain ??= compileWith(compiler("all"), schema);
    return explain(value) ? toViolations(first) : toViolations(explain.errors ?? first);
  };
  return (value) => {
    if (schemaNodes > SMALL_SCHEMA && countNodes(value, limit) > limit) {
      return [
        {
          pointer: "",
          code: "bounds",
          detail: `has more than ${limit} parts, too many for a schema of ${schemaNodes}: check less, or explode the record first`,
        },
      ];
    }
    if (matches(value)) return NONE;
    // An exact number is an object to the validator. Only now is it worth looking for one.
    return check(withDoubles(value, undefined));
  };
}

const invalidSchema = (violations: readonly Violation[]): OneDataError =>
  new OneDataError("config.invalid", `the JSON Schema has problems: ${violations.map((v) => `${v.pointer || "/"}: ${v.detail}`).join("; ")}`, {
    violations,
  });

/** Everything ajv knows as a format, in its four shapes, made to refuse long text. */
function boundedFormat(format: unknown): { type: "string"; validate: (text: string) => boolean } | undefined {
  if (format instanceof RegExp) return { type: "string", validate: (text) => text.length <= MAX_FORMAT_LENGTH && format.test(text) };
  if (typeof format === "function") return { type: "string", validate: (text) => text.length <= MAX_FORMAT_LENGTH && Boolean(format(text)) };
  if (typeof format !== "object" || format === null || !("validate" in format)) return undefined;
  if ("type" in format && format.type === "number") return undefined;
  return boundedFormat(format.validate);
}

function patternProblems(schema: Json, pointer: string): Violation[] {
  if (Array.isArray(schema)) return schema.flatMap((item, i) => patternProblems(item, `${pointer}/${i}`));
  if (!isJsonObject(schema)) return [];
  return Object.entries(schema).flatMap(([name, value]) => {
    const here = `${pointer}/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`;
    if (name === "pattern" && typeof value === "string") return patternViolation(value, here);
    if (name === "patternProperties" && isJsonObject(value))
      return Object.keys(value)
        .flatMap((source) => patternViolation(source, here))
        .concat(patternProblems(value, here));
    return NO_SCHEMAS.has(name) ? [] : patternProblems(value, here);
  });
}

function patternViolation(source: string, pointer: string): Violation[] {
  const problem = patternProblem(source);
  return problem === undefined ? [] : [{ pointer, code: "pattern", detail: `the pattern ${source} cannot be used: ${problem}` }];
}

function allDifferent(items: readonly Json[]): boolean {
  const seen = new Set<string>();
  for (const item of items) seen.add(canonicalText(item));
  return seen.size === items.length;
}

function canonicalText(value: Json): string {
  if (value instanceof ExactNumber) return value.text;
  if (Array.isArray(value)) return `[${value.map(canonicalText).join(",")}]`;
  if (!isJsonObject(value)) return JSON.stringify(value);
  const object: JsonObject = value;
  return `{${Object.keys(object)
    .sort()
    .map((name) => `${JSON.stringify(name)}:${canonicalText(object[name] ?? null)}`)
    .join(",")}}`;
}
