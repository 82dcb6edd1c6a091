/**
 * A regex engine for the package that runs in time linear to the text: RE2. No tenant's pattern can stall an event loop.
 * Duty: the part of RegExp that the package uses (`new`, `lastIndex`, `exec`). Non-duty: lookaround and backreferences, which RE2 refuses.
 * Patterns are compiled once per expression, since the package makes an engine for each evaluation.
 */
import { RE2JS } from "re2js";
import { JsonataFailure } from "./failure.ts";

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

/** RE2 takes time proportional to text times program. */
const maxWork = 50_000_000;
/** Many matches that each look to the end of the text add up; the clock is read once for so many. */
const maxMs = 1_000;
const clockEvery = 32;

type Match = (string | undefined)[] & { index: number };

export class LinearRegex {
  lastIndex = 0;
  readonly #program: RE2JS;
  #text: string | undefined;
  #execs = 0;
  #endsAtMs = 0;
  #matcher: ReturnType<RE2JS["matcher"]> | undefined;

  constructor(pattern: RegExp) {
    this.#program = linearProgram(pattern);
  }

  exec(text: string): Match | null {
    this.#guard(text);
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

  #guard(text: string): void {
    if (this.lastIndex === 0) {
      this.#execs = 0;
      this.#endsAtMs = 0;
      if (text.length * this.#program.programSize() > maxWork)
        throw new JsonataFailure("D1012", { value: text, message: "the text is too long for this regex" });
    }
    if (++this.#execs % clockEvery !== 0) return;
    const nowMs = performance.now();
    if (this.#endsAtMs === 0) this.#endsAtMs = nowMs + maxMs;
    else if (nowMs > this.#endsAtMs) throw new JsonataFailure("D1012", { value: maxMs });
  }
}
