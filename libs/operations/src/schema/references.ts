/** References within a schema: where they lead, which lead nowhere, and which lead back to themselves without looking at the value. */
import { isJsonObject, type Json, type JsonObject, toPointer, type Violation } from "@onedata/core";

type Path = readonly (string | number)[];

/** `#` (which the compiler takes `#/` for) and `#/$defs/x`. Undefined where nothing stands, and for anchors, which the compiler knows. */
export function resolveReference(root: JsonObject, reference: string): Json | undefined {
  const path = pathOf(reference);
  if (path === undefined) return undefined;
  let value: Json | undefined = root;
  for (const name of path) {
    if (Array.isArray(value)) value = value[Number(name)];
    else if (isJsonObject(value) && Object.hasOwn(value, name)) value = value[name];
    else return undefined;
  }
  return value;
}

function pathOf(reference: string): readonly string[] | undefined {
  if (reference === "#" || reference === "#/") return [];
  if (!reference.startsWith("#/")) return undefined;
  return reference
    .slice(2)
    .split("/")
    .map((part) => decodeURIComponentSafely(part).replaceAll("~1", "/").replaceAll("~0", "~"));
}

/** The first reference to another document, or loop: a schema that asks itself about the same value: deciding it would never end. Recursion into members and items ends with the value. */
export function referenceProblem(root: JsonObject): Violation | undefined {
  const done = new Set<Json>();
  const open = new Set<Json>();
  const search = (schema: Json, path: Path): Violation | undefined => {
    if (!isJsonObject(schema) || done.has(schema)) return undefined;
    open.add(schema);
    for (const [next, at, reference] of inPlace(root, schema)) {
      const here = [...path, ...at];
      const problem = open.has(next) ? loop(here, reference) : search(next, reference === undefined ? here : (pathOf(reference) ?? here));
      if (problem !== undefined) return problem;
    }
    open.delete(schema);
    done.add(schema);
    return undefined;
  };
  // Every object is looked at, whether it is a schema or not: a loop needs a reference, and that names its target.
  const everywhere = (value: Json, path: Path): Violation | undefined => {
    if (typeof value !== "object" || value === null) return undefined;
    const own = outsideProblem(value, path) ?? search(value, path);
    if (own !== undefined) return own;
    for (const [name, item] of Object.entries(value)) {
      if (isJsonObject(value) && NO_SCHEMAS.has(name)) continue;
      const problem = everywhere(item, [...path, name]);
      if (problem !== undefined) return problem;
    }
    return undefined;
  };
  return everywhere(root, []);
}

const DIALECT = "https://json-schema.org/draft/2020-12/";

/** Only the schema of schemas is known beside a customer's own. */
function outsideProblem(value: Json, path: Path): Violation | undefined {
  const reference = isJsonObject(value) ? value["$ref"] : undefined;
  if (typeof reference !== "string" || reference.startsWith("#") || reference.startsWith(DIALECT)) return undefined;
  const detail = `${JSON.stringify(reference)} leads to another document: put what is meant into $defs and refer to it as #/$defs/…`;
  return { pointer: toPointer([...path, "$ref"]), code: "$ref", detail };
}

const loop = (path: Path, reference: string | undefined): Violation => ({
  pointer: toPointer(path),
  code: "$ref",
  detail: `the reference ${JSON.stringify(reference ?? "")} leads back to itself without going into a member or an item, so it says nothing: write out what is meant`,
});

/** Keywords whose values are data. */
export const NO_SCHEMAS: ReadonlySet<string> = new Set(["enum", "const", "examples", "example", "default"]);
const LISTS = ["allOf", "anyOf", "oneOf"];
const SINGLE = ["not", "if", "then", "else"];

/** What a schema asks about the same value: the schema, how it is reached, and the reference if it is one. */
function* inPlace(root: JsonObject, schema: JsonObject): Generator<[Json, Path, string | undefined]> {
  for (const name of ["$ref", "$dynamicRef"]) {
    const reference = schema[name];
    const target = typeof reference === "string" ? resolveReference(root, reference) : undefined;
    if (target !== undefined && typeof reference === "string") yield [target, [name], reference];
  }
  for (const name of LISTS) {
    const list = schema[name];
    if (Array.isArray(list)) for (const [i, item] of list.entries()) yield [item, [name, i], undefined];
  }
  for (const name of SINGLE) if (schema[name] !== undefined) yield [schema[name], [name], undefined];
  const dependent = schema["dependentSchemas"];
  if (isJsonObject(dependent)) for (const [name, item] of Object.entries(dependent)) yield [item, ["dependentSchemas", name], undefined];
}

function decodeURIComponentSafely(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
