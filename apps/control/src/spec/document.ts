/**
 * Reads a spec's text, YAML 1.2 or JSON, into a JSON value whose every place has a line.
 *
 * Invariants:
 * 1. Bounded: 256 KiB of text, 64 levels, 50,000 values after aliases are followed (an alias bomb ends there).
 * 2. Numbers keep what they say: a literal beyond double precision becomes an `ExactNumber`, as in records.
 * 3. Names are unique in an object, also in JSON: the second one is a problem, not a silent winner.
 */
import { ExactNumber, type Json, type JsonObject, setMember, toPointer } from "@onedata/core";
import { locateJsonError, survivesAsDouble } from "@onedata/formats";
import { isAlias, isMap, isScalar, isSeq, Lexer, LineCounter, type Node, parseDocument, type Scalar } from "yaml";

export type SpecProblem = { readonly pointer: string; readonly code: string; readonly detail: string; readonly line: number };

export type SpecDocument = {
  /** `undefined` when there are problems. */
  readonly value: Json | undefined;
  readonly problems: readonly SpecProblem[];
  /** Line of a place, or of the nearest place around it; 0 if unknown. */
  lineOf(pointer: string): number;
};

export const MAX_SPEC_BYTES = 256 * 1024;
const MAX_DEPTH = 64;
const MAX_VALUES = 50_000;
const MAX_TOKENS = 80_000;
const MAX_INDENT = 400;

export function readDocument(text: string, mediaType: string): SpecDocument {
  const bytes = Buffer.byteLength(text, "utf8");
  if (bytes > MAX_SPEC_BYTES) return refused({ code: "spec.too_large", detail: `the spec has ${bytes} bytes; at most ${MAX_SPEC_BYTES}`, line: 0 });
  if (mediaType.includes("json")) {
    const error = locateJsonError(text);
    if (error !== undefined)
      return refused({
        code: "spec.malformed",
        detail: `not valid JSON: ${error.message}; to send YAML, say Content-Type: application/yaml`,
        line: error.line,
      });
  }
  const excess = findExcess(text);
  if (excess !== undefined) return refused(excess);
  const lines = new LineCounter();
  const reader = new DocumentReader(lines);
  try {
    // JSON is YAML's flow style, so one parser gives the places of both.
    const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: false, version: "1.2", logLevel: "error" });
    for (const error of document.errors) reader.problem([], "spec.malformed", explain(error), error.pos[0]);
    const value = reader.problems.length > 0 ? null : reader.value(document.contents, []);
    return { value: reader.problems.length > 0 ? undefined : value, problems: reader.problems, lineOf: (pointer) => reader.lineOf(pointer) };
  } catch (error) {
    if (error instanceof RangeError) return refused({ code: "spec.too_deep", detail: `nested deeper than ${MAX_DEPTH} levels`, line: 0 });
    throw error;
  }
}

/**
 * The parser is recursive: deep text overflows its stack, and close to the end of the stack a regular expression that is compiled there ends the whole
 * process. So depth is bounded over the lexer's tokens, which is linear (0.3 s for the worst 256 KiB) and stops at the first excess.
 */
function findExcess(text: string): Omit<SpecProblem, "pointer"> | undefined {
  let line = 1;
  let flow = 0;
  let tokens = 0;
  /** Block structures opened in this line: `- - - a`. */
  let compact = 0;
  for (const token of new Lexer().lex(text)) {
    tokens += 1;
    if (tokens > MAX_TOKENS) return { code: "spec.too_large", detail: `more than ${MAX_TOKENS} symbols; a spec is far smaller`, line };
    if (token === "[" || token === "{") flow += 1;
    else if (token === "]" || token === "}") flow = Math.max(flow - 1, 0);
    else if (flow === 0 && (token === "-" || token === "?" || token === ":")) compact += 1;
    else if (token.startsWith("\n") || token.startsWith("\r")) compact = 0;
    else if (/^ +$/.test(token) && token.length > MAX_INDENT)
      return { code: "spec.too_deep", detail: `more than ${MAX_INDENT} blanks in a row`, line };
    if (flow > MAX_DEPTH || compact > MAX_DEPTH) return { code: "spec.too_deep", detail: `nested deeper than ${MAX_DEPTH} levels`, line };
    line += countLines(token);
  }
  return undefined;
}

function countLines(token: string): number {
  let lines = 0;
  for (let at = token.indexOf("\n"); at >= 0; at = token.indexOf("\n", at + 1)) lines += 1;
  return lines;
}

const refused = (problem: Omit<SpecProblem, "pointer">): SpecDocument => ({
  value: undefined,
  problems: [{ pointer: "", ...problem }],
  lineOf: () => 0,
});

type Path = readonly (string | number)[];

class DocumentReader {
  readonly problems: SpecProblem[] = [];
  readonly #lines: LineCounter;
  readonly #offsets = new Map<string, number>();
  readonly #anchors = new Map<string, Node>();
  #values = 0;

  constructor(lines: LineCounter) {
    this.#lines = lines;
  }

  problem(path: Path, code: string, detail: string, offset: number | undefined): null {
    if (this.problems.length < 100)
      this.problems.push({ pointer: toPointer(path), code, detail, line: offset === undefined ? 0 : this.#lines.linePos(offset).line });
    return null;
  }

  lineOf(pointer: string): number {
    for (let place = pointer; ; place = place.slice(0, place.lastIndexOf("/"))) {
      const offset = this.#offsets.get(place);
      if (offset !== undefined) return this.#lines.linePos(offset).line;
      if (place === "") return 0;
    }
  }

  value(node: unknown, path: Path): Json {
    const offset = isScalar(node) || isMap(node) || isSeq(node) || isAlias(node) ? node.range?.[0] : undefined;
    const pointer = toPointer(path);
    if (offset !== undefined && !this.#offsets.has(pointer)) this.#offsets.set(pointer, offset);
    this.#values += 1;
    if (this.#values > MAX_VALUES) {
      if (this.#values === MAX_VALUES + 1)
        this.problem(path, "spec.too_large", `more than ${MAX_VALUES} values; aliases count as what they stand for`, offset);
      return null;
    }
    if (path.length > MAX_DEPTH) return this.problem(path, "spec.too_deep", `nested deeper than ${MAX_DEPTH} levels`, offset);
    if ((isScalar(node) || isMap(node) || isSeq(node)) && node.anchor !== undefined) this.#anchors.set(node.anchor, node);
    if (isAlias(node)) {
      const target = this.#anchors.get(node.source);
      return target === undefined
        ? this.problem(path, "spec.malformed", `the alias *${node.source} has no anchor before it`, offset)
        : this.value(target, path);
    }
    if (isSeq(node)) return node.items.map((item, i) => this.value(item, [...path, i]));
    if (isMap(node)) return this.#object(node.items, path);
    if (isScalar(node)) return this.#scalar(node, path, offset);
    return null;
  }

  #object(pairs: readonly { readonly key: unknown; readonly value: unknown }[], path: Path): JsonObject {
    const object: JsonObject = {};
    // Not the parser's own check: it compares every name with every other.
    const names = new Set<string>();
    for (const { key, value } of pairs) {
      const offset = isScalar(key) ? key.range?.[0] : undefined;
      if (!isScalar(key)) {
        this.problem(path, "spec.malformed", "a name in an object must be text", undefined);
        continue;
      }
      const name = typeof key.value === "string" ? key.value : (key.source ?? String(key.value));
      if (names.has(name)) this.problem([...path, name], "spec.duplicate_member", "this name stands twice in one object; remove one", offset);
      names.add(name);
      if (offset !== undefined) this.#offsets.set(toPointer([...path, name]), offset);
      setMember(object, name, this.value(value, [...path, name]));
    }
    return object;
  }

  #scalar(node: Scalar, path: Path, offset: number | undefined): Json {
    const { value } = node;
    if (value === null || value === undefined) return null;
    if (typeof value === "string")
      return value.includes("\0") ? this.problem(path, "spec.nul", "holds U+0000, which cannot be stored; leave it out", offset) : value;
    if (typeof value === "boolean") return value;
    if (typeof value === "number") {
      const literal = node.source?.replace(/^\+/, "") ?? String(value);
      if (/^-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$/.test(literal) && !survivesAsDouble(literal)) return new ExactNumber(literal);
      return Number.isFinite(value) ? value : this.problem(path, "spec.type", `${literal} is no JSON number`, offset);
    }
    return this.problem(path, "spec.type", "is no JSON value; remove the tag", offset);
  }
}

/** The parser's words are for programmers where it was asked for one document and found two. */
const explain = ({ code, message }: { readonly code: string; readonly message: string }): string =>
  code === "MULTIPLE_DOCS" ? "the text holds several YAML documents: send one spec per request, without ---" : message;
