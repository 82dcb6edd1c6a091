/**
 * Where and why a text is not JSON. Runs only after `JSON.parse` has refused the text: its own messages carry a position in some cases only.
 * Iterative, so depth costs no stack.
 */
export type JsonError = { readonly offset: number; readonly line: number; readonly column: number; readonly message: string };

const WHITESPACE = /[ \t\n\r]*/y;
// oxlint-disable-next-line no-control-regex -- JSON forbids exactly these characters in strings
const STRING = /"[^"\\\u0000-\u001f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\u0000-\u001f]*)*"/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORD = /true|false|null/y;

/** `undefined` when the text is JSON after all. Line and column count from 1, columns in UTF-16 units. */
export function locateJsonError(text: string): JsonError | undefined {
  let at = 0;
  const take = (pattern: RegExp): boolean => {
    pattern.lastIndex = at;
    if (!pattern.test(text)) return false;
    at = pattern.lastIndex;
    return true;
  };
  const fail = (message: string): JsonError => {
    const before = text.slice(0, at);
    const lineStart = before.lastIndexOf("\n") + 1;
    const line = before.split("\n").length;
    const found = at >= text.length ? "the text ends" : `found ${JSON.stringify(text.slice(at, at + 12))}`;
    return { offset: at, line, column: at - lineStart + 1, message: `${message}, ${found}` };
  };
  const key = (): JsonError | undefined => {
    take(WHITESPACE);
    if (!take(STRING))
      return fail(
        text[at] === '"'
          ? "this member name is not closed or holds a control character or a bad escape"
          : 'expected a member name in "double quotes"',
      );
    take(WHITESPACE);
    if (text[at] !== ":") return fail('expected ":" after the member name');
    at += 1;
    return undefined;
  };
  const open: ("}" | "]")[] = [];
  for (;;) {
    take(WHITESPACE);
    // a value
    const first = text[at];
    if (first === "{" || first === "[") {
      at += 1;
      const closer = first === "{" ? "}" : "]";
      take(WHITESPACE);
      if (text[at] === closer) at += 1;
      else {
        open.push(closer);
        const error = closer === "}" ? key() : undefined;
        if (error !== undefined) return error;
        continue;
      }
    } else if (first === '"') {
      if (!take(STRING)) return fail("this string is not closed or holds a control character or a bad escape");
    } else if (!take(NUMBER) && !take(WORD)) {
      return fail(
        first === "'" ? "strings stand in double quotes" : first === "\ufeff" ? "a byte order mark is not JSON: leave it out" : "expected a value",
      );
    }
    // what may follow it
    for (;;) {
      take(WHITESPACE);
      const closer = open.at(-1);
      if (closer === undefined) return at === text.length ? undefined : fail("expected the end: one payload is one JSON value");
      if (text[at] === closer) {
        at += 1;
        open.pop();
        continue;
      }
      if (text[at] !== ",") return fail(`expected "," or "${closer}"`);
      at += 1;
      take(WHITESPACE);
      if (text[at] === closer) return fail('a "," stands only between two values');
      const error = closer === "}" ? key() : undefined;
      if (error !== undefined) return error;
      break;
    }
  }
}
