/** Customers' patterns run on RE2, in time linear to the text: `(a+)+$` cannot stall an event loop. */
import { RE2JS } from "re2js";

export type Pattern = { test(text: string): boolean; toString(): string };

/** ECMAScript spelling, matched anywhere in the text, as JSON Schema says. Throws when RE2 has no such construct (lookaround, backreferences). */
export function compilePattern(source: string): Pattern {
  const program = RE2JS.compile(RE2JS.translateRegExp(source));
  // ajv shares compiled patterns by their text.
  return { test: (text) => program.test(text), toString: () => `/${source}/` };
}

/** What is wrong with the pattern, or undefined. */
export function patternProblem(source: string): string | undefined {
  try {
    compilePattern(source);
    return undefined;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return `${reason}; patterns run on RE2, which has no lookaround and no backreferences`;
  }
}
