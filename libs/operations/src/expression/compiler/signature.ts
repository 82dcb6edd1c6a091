/**
 * Decides quickly whether arguments already match a built-in's signature (`<s-nn?:s>`), in which case its implementation is called directly.
 * Non-duty: everything else. Missing arguments, single values for arrays and mismatches go through the package's own validation.
 */
import { isValues } from "./values.ts";

export type Accepts = (value: unknown) => boolean;
export type Signature = { readonly accepts: readonly Accepts[]; readonly required: number };

/** Undefined when the signature has a shape that is not read here. */
export function readSignature(definition: string): Signature | undefined {
  const parameters = /^<(.*?)(?::[a-z<>]+)?>$/.exec(definition)?.[1];
  if (parameters === undefined) return undefined;
  const accepts: Accepts[] = [];
  let required = 0;
  for (const [whole, types, itemType, marks] of parameters.matchAll(/(\([a-z]+\)|[a-z])(?:<([a-z])>)?([-?+]*)/g)) {
    if (types === undefined || marks === undefined || marks.includes("+") || whole === "") return undefined;
    accepts.push(acceptor(types.replace(/[()]/g, ""), itemType));
    if (!marks.includes("?")) required = accepts.length;
  }
  const covered = [...parameters.matchAll(/(\([a-z]+\)|[a-z])(?:<([a-z])>)?([-?+]*)/g)].map(([whole]) => whole).join("");
  return covered === parameters ? { accepts, required } : undefined;
}

/** Absent matches every type. */
function acceptor(types: string, itemType: string | undefined): Accepts {
  if (types === "x" || types === "j") return () => true;
  if (types === "s") return (value) => typeof value === "string" || value === undefined;
  if (types === "n") return (value) => typeof value === "number" || value === undefined;
  if (types === "a")
    return (value) => value === undefined || (isValues(value) && (itemType === undefined || value.every((item) => symbolOf(item) === itemType)));
  return (value) => value === undefined || types.includes(symbolOf(value));
}

function symbolOf(value: unknown): string {
  switch (typeof value) {
    case "string":
      return "s";
    case "number":
      return "n";
    case "boolean":
      return "b";
    case "object":
      return value === null ? "l" : isValues(value) ? "a" : "o";
    case "undefined":
    case "function":
    case "symbol":
    case "bigint":
      return "m";
  }
}
