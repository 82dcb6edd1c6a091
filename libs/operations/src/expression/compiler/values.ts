/**
 * The language's values as the package represents them, so that its built-ins can be called with ours and flags mean the same:
 * `sequence` marks an array that stands for "any number of values" and collapses (none: absent, one: the value itself) where a node is done;
 * `keepSingleton` (written `[]`) stops that; `cons` marks an array constructor, which a path does not flatten; `outerWrapper` is the wrapper of a
 * record that is itself an array.
 */
export type Values = unknown[] & { sequence?: boolean; keepSingleton?: boolean; cons?: boolean; outerWrapper?: boolean };
export type Members = { [member: string]: unknown };

export const isValues = (value: unknown): value is Values => Array.isArray(value);

export const isMembers = (value: unknown): value is Members => typeof value === "object" && value !== null && !Array.isArray(value);

export function createSequence(): Values {
  const values: Values = [];
  values.sequence = true;
  return values;
}

export function sequenceOf(value: unknown): Values {
  const values: Values = [value];
  values.sequence = true;
  return values;
}

/** What happens to every result when its node is done. */
export function collapse(value: unknown, keepArray: boolean): unknown {
  if (!isValues(value) || value.sequence !== true) return value;
  if (keepArray) value.keepSingleton = true;
  if (value.length === 0) return undefined;
  return value.length === 1 && value.keepSingleton !== true ? value[0] : value;
}

/** `$append` and array constructors: absent disappears, arrays are joined, and the result is no sequence. */
export function append(first: unknown, second: unknown): unknown {
  if (first === undefined) return second;
  if (second === undefined) return first;
  const left = isValues(first) ? first : [first];
  return left.concat(isValues(second) ? second : [second]);
}
