/**
 * Built-ins of the package that are asynchronous or bound to the wall clock, written again for compiled code.
 * Each follows the package's steps for the arguments that compiled code can pass: it has no regexes and no functions as values.
 */
import { type BuiltinName, builtins } from "../builtins.ts";
import { JsonataFailure } from "../failure.ts";
import { guardedBuiltins, type Implementation } from "./guarded-builtins.ts";
import { areNumbers } from "./path.ts";
import type { Run } from "./run.ts";
import { isGreater, mergeSort } from "./sort.ts";
import { isValues } from "./values.ts";

export const synchronousBuiltins: Partial<Record<BuiltinName, Implementation>> = {
  contains: (_run, text, token) => {
    if (typeof text !== "string" || token === undefined) return undefined;
    return text.includes(asString(token));
  },
  split: (_run, text, separator, limit) => {
    if (typeof text !== "string") return undefined;
    if (typeof limit === "number" && limit < 0) throw new JsonataFailure("D3020", { value: limit });
    if (limit !== undefined && !(Number(limit) > 0)) return [];
    return text.split(asString(separator), typeof limit === "number" ? limit : undefined);
  },
  replace: (run, text, pattern, replacement, limit) => {
    if (typeof text !== "string") return undefined;
    if (pattern === "") throw new JsonataFailure("D3010", { value: pattern });
    if (typeof limit === "number" && limit < 0) throw new JsonataFailure("D3011", { value: limit });
    return limit === undefined || Number(limit) > 0
      ? replaceAll(run, text, pattern, String(replacement), typeof limit === "number" ? limit : Number.POSITIVE_INFINITY)
      : text;
  },
  ...guardedBuiltins,
  sort: (run, values) => {
    if (!isValues(values) || values.length <= 1) return values;
    if (!areNumbers(values) && !values.every((value) => typeof value === "string")) throw new JsonataFailure("D3070", { value: values });
    return mergeSort(values, isGreater, run);
  },
  millis: (run) => run.timeUnixMs,
  now: (run, picture, timezone) => builtins().fromMillis.implementation.call(undefined, run.timeUnixMs, picture, timezone),
};

/** Signatures let an absent token or separator through, and the package then fails to call it. */
function asString(value: unknown): string {
  if (typeof value !== "string") throw new TypeError("an argument is absent where a string or a regex is needed");
  return value;
}

function replaceAll(run: Run, text: string, pattern: unknown, replacement: string, limit: number): string {
  const token = asString(pattern);
  let result = "";
  let position = 0;
  let count = 0;
  for (let index = text.indexOf(token); index !== -1 && count < limit; index = text.indexOf(token, position)) {
    result += text.substring(position, index) + replacement;
    if (result.length > run.maxStringLength) throw new JsonataFailure("D2015", { value: result.length, message: "the text is too long" });
    position = index + token.length;
    count++;
  }
  return result + text.substring(position);
}
