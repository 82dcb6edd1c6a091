/**
 * The package's own built-in functions with their signatures, so that compiled code calls the very same ones.
 * The package exports none of them. It does call a hook, synchronously and before anything else, with the frame that holds them all;
 * the version is pinned, and a test fails if the hook goes away.
 */
import jsonata from "jsonata";

export type Builtin = {
  readonly _jsonata_function: true;
  readonly implementation: (this: unknown, ...args: unknown[]) => unknown;
  readonly signature?: { validate(args: readonly unknown[], context: unknown): unknown[] };
};

const names = [
  "sum",
  "count",
  "max",
  "min",
  "average",
  "string",
  "substring",
  "substringBefore",
  "substringAfter",
  "lowercase",
  "uppercase",
  "length",
  "trim",
  "pad",
  "contains",
  "replace",
  "split",
  "join",
  "formatNumber",
  "formatBase",
  "formatInteger",
  "parseInteger",
  "number",
  "floor",
  "ceil",
  "round",
  "abs",
  "sqrt",
  "power",
  "boolean",
  "not",
  "zip",
  "keys",
  "lookup",
  "append",
  "exists",
  "spread",
  "merge",
  "reverse",
  "error",
  "assert",
  "type",
  "sort",
  "distinct",
  "base64encode",
  "base64decode",
  "encodeUrlComponent",
  "encodeUrl",
  "decodeUrlComponent",
  "decodeUrl",
  "toMillis",
  "fromMillis",
  "now",
  "millis",
  "match",
] as const;
export type BuiltinName = (typeof names)[number];
export type Builtins = Readonly<Record<BuiltinName, Builtin>>;

let captured: Builtins | undefined; // a cache of constants, filled on first use

export function builtins(): Builtins {
  captured ??= capture();
  return captured;
}

/** Functions of the package that are not called from compiled code by name alone. */
const otherFunctions: ReadonlySet<string> = new Set(["map", "filter", "reduce", "single", "each", "sift", "clone", "shuffle", "random", "eval"]);

export const isFunctionName = (name: string): boolean => isBuiltinName(name) || otherFunctions.has(name);

export const isBuiltinName = (name: string): name is BuiltinName => names.some((known) => known === name);

function capture(): Builtins {
  let found: Builtins | undefined;
  const probe = jsonata("null");
  const hook = (_node: unknown, _input: unknown, frame: { lookup(name: string): unknown }): void => {
    found = Object.fromEntries(names.map((name) => [name, frame.lookup(name)])) as Builtins; // checked below
  };
  // The package keys its hooks by symbols, which `assign` takes and its type does not know.
  probe.assign(Symbol.for("jsonata.__evaluate_entry") as unknown as string, hook);
  void probe.evaluate(null);
  if (found === undefined || names.some((name) => typeof found?.[name]?.implementation !== "function")) {
    throw new Error("jsonata: its built-in functions cannot be reached; pin the version this module was written for");
  }
  return found;
}
