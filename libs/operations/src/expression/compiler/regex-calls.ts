/**
 * `$contains`, `$match`, `$replace` and `$split` with a regex written in place, on the same linear-time engine as in the package.
 * Limits, empty matches and `$1` in replacements follow the package step for step.
 */
import { builtins } from "../builtins.ts";
import { JsonataFailure } from "../failure.ts";
import { LinearRegex } from "../regex.ts";
import type { Node } from "../syntax.ts";
import { type Bindings, type Compile, type Evaluate, NotCompiled, type Run } from "./run.ts";
import { createSequence, type Values } from "./values.ts";

const regexCalls = ["contains", "match", "replace", "split"] as const;
type RegexCall = (typeof regexCalls)[number];
export const isRegexCall = (name: string): name is RegexCall => regexCalls.some((known) => known === name);

type Match = { readonly text: string; readonly start: number; readonly end: number; readonly groups: readonly (string | undefined)[] };
type Matcher = { readonly engine: LinearRegex; readonly node: Node; readonly run: Run };

/** Undefined when the arguments are of another shape. */
export function compileRegexCall(
  name: RegexCall,
  node: Node,
  first: Evaluate | undefined,
  bindings: Bindings | undefined,
  compile: Compile,
  hasContext: boolean,
): Evaluate | undefined {
  const args = node.arguments ?? [];
  const at = args.findIndex((argument) => argument.type === "regex");
  const regex = args[at];
  if (regex === undefined || !(regex.value instanceof RegExp)) return undefined;
  if (regex.predicate !== undefined || regex.group !== undefined) throw new NotCompiled(regex, "filters a regex");
  const { signature } = builtins()[name];
  const engine = new LinearRegex(regex.value);
  const values = args.map((argument): Evaluate => (argument === regex ? () => isRegex : compile(argument, bindings)));
  const all = first === undefined ? values : [first, ...values];
  return (input, run) => {
    const given = all.map((value) => value(input, run));
    const [text, pattern, third, fourth] = signature?.validate(given, hasContext ? input : null) ?? given;
    if (text === undefined) return undefined;
    if (typeof text !== "string" || pattern !== isRegex) return shifted(text, pattern, fourth, node);
    const matcher: Matcher = { engine, node: regex, run };
    switch (name) {
      case "contains":
        engine.lastIndex = 0;
        return engine.exec(text) !== null;
      case "match":
        return match(matcher, text, limitOf(third, "D3040", node));
      case "split":
        return split(matcher, text, limitOf(third, "D3020", node));
      case "replace":
        return replace(matcher, text, third, limitOf(fourth, "D3011", node));
    }
  };
}

/**
 * `$replace("a", /b/, 1)` is read as: in the context, replace "a" by the regex, once. Nothing sensible comes of it (the package inserts the
 * source text of a function of its own), so it is an error where it would.
 */
function shifted(text: unknown, pattern: unknown, limit: unknown, node: Node): unknown {
  if (typeof text !== "string" || typeof pattern !== "string") throw new JsonataFailure("T0410", { position: node.position, value: text });
  if (pattern === "") throw new JsonataFailure("D3010", { position: node.position, value: pattern });
  if (limitOf(limit, "D3011", node) > 0 && text.includes(pattern)) throw new JsonataFailure("T0410", { position: node.position, value: pattern });
  return text;
}

/** Stands for the regex while the package checks the arguments: to it, a regex is a function. */
const isRegex = (): never => {
  throw new TypeError("a regex is not called");
};

function limitOf(limit: unknown, code: string, node: Node): number {
  if (typeof limit !== "number") return Number.POSITIVE_INFINITY;
  if (limit < 0) throw new JsonataFailure(code, { position: node.position, value: limit });
  return limit;
}

/** The next match is looked for before the limit is: an empty one is an error even then. */
function forEachMatch({ engine, node, run }: Matcher, text: string, limit: number, visit: (match: Match) => void): number {
  let count = 0;
  engine.lastIndex = 0;
  for (let found = engine.exec(text); found !== null && count < limit; count++) {
    run.tick();
    const [matched = "", ...groups] = found;
    visit({ text: matched, start: found.index, end: found.index + matched.length, groups });
    if (engine.lastIndex >= text.length) return count + 1;
    found = engine.exec(text);
    if (found !== null && found[0] === "")
      throw new JsonataFailure("D1004", { position: node.position, value: String(node.value), message: "the regex matches an empty text" });
  }
  return count;
}

function match(matcher: Matcher, text: string, limit: number): Values {
  const matches = createSequence();
  if (limit > 0) forEachMatch(matcher, text, limit, ({ text: matched, start, groups }) => matches.push({ match: matched, index: start, groups }));
  return matches;
}

function split(matcher: Matcher, text: string, limit: number): readonly string[] {
  const parts: string[] = [];
  if (!(limit > 0)) return parts;
  let start = 0;
  const count = forEachMatch(matcher, text, limit, (found) => {
    parts.push(text.substring(start, found.start));
    start = found.end;
  });
  if (count < limit) parts.push(text.substring(start));
  return parts;
}

function replace(matcher: Matcher, text: string, replacement: unknown, limit: number): string {
  if (!(limit > 0)) return text;
  let result = "";
  let position = 0;
  forEachMatch(matcher, text, limit, (found) => {
    if (typeof replacement !== "string") throw new TypeError("the replacement is absent");
    result += text.substring(position, found.start) + expand(replacement, found);
    if (result.length > matcher.run.maxStringLength) throw new JsonataFailure("D2015", { value: result.length, message: "the text is too long" });
    position = found.start + found.text.length;
  });
  return result + text.substring(position);
}

/** `$$` is `$`, `$0` the match, `$n` a group with as many digits as there may be, any other `$` itself. */
function expand(replacement: string, { text, groups }: Match): string {
  let result = "";
  let position = 0;
  let index = replacement.indexOf("$");
  while (index !== -1 && position < replacement.length) {
    result += replacement.substring(position, index);
    position = index + 1;
    const next = replacement.charAt(position);
    if (next === "$" || next === "0") {
      result += next === "$" ? "$" : text;
      position++;
    } else {
      const digits = groups.length === 0 ? 1 : Math.floor(Math.log(groups.length) * Math.LOG10E) + 1;
      let group = Number.parseInt(replacement.substring(position, position + digits), 10);
      if (digits > 1 && group > groups.length) group = Number.parseInt(replacement.substring(position, position + digits - 1), 10);
      if (Number.isNaN(group)) {
        result += "$";
      } else {
        result += groups[group - 1] ?? "";
        position += String(group).length;
      }
    }
    index = replacement.indexOf("$", position);
  }
  return result + replacement.substring(position);
}
