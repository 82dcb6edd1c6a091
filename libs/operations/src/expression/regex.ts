/**
 * A regex engine for the package that runs in time linear to the text: RE2. No tenant's pattern can stall an event loop.
 * Duty: the part of RegExp that the package uses (`new`, `lastIndex`, `exec`). Non-duty: lookaround and backreferences, which RE2 refuses.
 * Patterns are compiled once per expression, since the package makes an engine for each evaluation.
 */
import { RE2JS } from "re2js";

const programs = new WeakMap<RegExp, RE2JS>();

/** Throws re2js's syntax error when RE2 cannot run the pattern. */
export function linearProgram(pattern: RegExp): RE2JS {
  const known = programs.get(pattern);
  if (known !== undefined) return known;
  const flags = (pattern.ignoreCase ? RE2JS.CASE_INSENSITIVE : 0) | (pattern.multiline ? RE2JS.MULTILINE : 0);
  const program = RE2JS.compile(RE2JS.translateRegExp(pattern.source), flags);
  programs.set(pattern, program);
  return program;
}

type Match = (string | undefined)[] & { index: number };

export class LinearRegex {
  lastIndex = 0;
  readonly #program: RE2JS;
  #text: string | undefined;
  #matcher: ReturnType<RE2JS["matcher"]> | undefined;

  constructor(pattern: RegExp) {
    this.#program = linearProgram(pattern);
  }

  exec(text: string): Match | null {
    // One matcher per text: each makes a copy of it.
    if (this.#matcher === undefined || this.#text !== text) {
      this.#matcher = this.#program.matcher(text);
      this.#text = text;
    }
    const matcher = this.#matcher;
    if (this.lastIndex > text.length || !matcher.find(this.lastIndex)) {
      this.lastIndex = 0;
      return null;
    }
    const groups: (string | undefined)[] = [];
    for (let i = 0; i <= matcher.groupCount(); i++) groups.push(matcher.group(i) ?? undefined);
    this.lastIndex = matcher.end();
    return Object.assign(groups, { index: matcher.start() });
  }
}
