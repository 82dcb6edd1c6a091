/**
 * Parses with the package's own parser, and refuses what may not run: `$random`, `$shuffle` and `$eval` (a retry must give the same answer,
 * and code must be visible when a pipeline is applied), and regexes that RE2 cannot run.
 */
import jsonata from "jsonata";
import { isFunctionName } from "./builtins.ts";
import { invalidExpression, JsonataFailure } from "./failure.ts";
import type { ExpressionLimits } from "./limits.ts";
import { linearProgram } from "./regex.ts";

/** The parser's nodes. The package's own type misses most members, so this one was written from its parser. */
export type Node = {
  readonly type: string;
  readonly value?: unknown;
  readonly position?: number;
  readonly steps?: readonly Node[];
  readonly stages?: readonly Stage[];
  readonly predicate?: readonly Stage[];
  readonly group?: Group;
  readonly expressions?: readonly Node[];
  readonly expression?: Node;
  readonly arguments?: readonly Node[];
  readonly procedure?: Node;
  readonly body?: Node;
  readonly condition?: Node;
  readonly then?: Node;
  readonly else?: Node;
  readonly lhs?: Node | readonly (readonly [Node, Node])[];
  readonly rhs?: Node;
  readonly terms?: readonly { readonly descending: boolean; readonly expression: Node }[];
  readonly pattern?: Node;
  readonly update?: Node;
  readonly delete?: Node;
  readonly keepArray?: boolean;
  readonly keepSingletonArray?: boolean;
  readonly consarray?: boolean;
  readonly tuple?: boolean;
  readonly focus?: string;
  readonly index?: string;
  readonly ancestor?: unknown;
  readonly thunk?: boolean;
  readonly signature?: unknown;
};
export type Stage = { readonly type: string; readonly expr: Node };
export type Group = { readonly lhs: readonly (readonly [Node, Node])[]; readonly position?: number };

/** The left side of an object constructor; a binary node has one node there. */
export const isPairs = (lhs: Node["lhs"]): lhs is readonly (readonly [Node, Node])[] => Array.isArray(lhs);

export type Parsed = { readonly source: string; readonly root: Node; readonly package: jsonata.Expression };

const refused: Record<string, string> = {
  random: "a retry must give the same answer: use a member of the record instead",
  shuffle: "a retry must give the same answer: sort by a member of the record instead",
  eval: "write the expression out: it must be known when the pipeline is applied",
};

const maxDefaults = 12;

/** @throws OneDataError `expression.invalid` with the position and what to do. */
export function parseExpression(source: string, limits: ExpressionLimits, options: jsonata.JsonataOptions): Parsed {
  if (source.length > limits.maxSourceLength) {
    const cause = new JsonataFailure("too_long", { message: `${source.length} characters, at most ${limits.maxSourceLength} are allowed` });
    throw invalidExpression(source, cause, "split it over several steps");
  }
  // The parser works on the left side of these twice, so a chain of n takes 2^n.
  const defaults = source.match(/(?<!\()\?[?:]/g)?.length ?? 0;
  if (defaults > maxDefaults) {
    throw invalidExpression(
      source,
      new JsonataFailure("too_long", { message: `${defaults} times ?? or ?:, at most ${maxDefaults} are allowed` }),
      "take the first of an array instead: [a, b, c][0]",
    );
  }
  let expression: jsonata.Expression;
  try {
    expression = jsonata(source, options);
  } catch (error) {
    throw invalidExpression(source, error, "see https://docs.jsonata.org for the language");
  }
  const root = expression.ast() as unknown as Node; // the package's type misses most members
  if (nests(root) > maxNesting) {
    throw invalidExpression(
      source,
      new JsonataFailure("too_deep", { message: `it nests more than ${maxNesting} levels` }),
      "split it over several steps",
    );
  }
  const bound = boundNames(root);
  forEachNode(root, (node) => {
    refuse(source, node);
    refuseCall(source, node, bound);
  });
  return { source, root, package: expression };
}

function refuse(source: string, node: Node): void {
  if (node.type === "variable" && typeof node.value === "string" && Object.hasOwn(refused, node.value)) {
    const cause = new JsonataFailure("refused", { position: node.position, message: `$${node.value} is not allowed` });
    throw invalidExpression(source, cause, refused[node.value] ?? "leave it out");
  }
  if (node.type === "regex" && node.value instanceof RegExp) {
    try {
      linearProgram(node.value);
    } catch (error) {
      const message = `the regex ${String(node.value)} cannot run: ${error instanceof Error ? error.message : String(error)}`;
      const cause = new JsonataFailure("regex", { position: node.position, message });
      throw invalidExpression(source, cause, "regexes run on RE2, which has no lookaround and no backreferences");
    }
  }
}

/** Evaluation goes as deep as the source nests, on a stack shared with whoever calls. */
const maxNesting = 400;

function nests(root: Node): number {
  const seen = new Set<object>();
  const pending: { readonly value: unknown; readonly depth: number }[] = [{ value: root, depth: 0 }];
  let deepest = 0;
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { value, depth } = next;
    if (typeof value !== "object" || value === null || seen.has(value)) continue;
    seen.add(value);
    // Lists of steps and of arguments are no level of their own.
    const inside = Array.isArray(value) ? depth : depth + 1;
    deepest = Math.max(deepest, inside);
    for (const inner of Object.values(value)) pending.push({ value: inner, depth: inside });
  }
  return deepest;
}

/** Calls that fail on every record: of nothing, and of names without their $. */
function refuseCall(source: string, node: Node, bound: ReadonlySet<string>): void {
  const { procedure } = node;
  if (node.type !== "function" && node.type !== "partial") return;
  const isMember = procedure?.type === "path";
  const name = isMember ? procedure.steps?.[0]?.value : procedure?.type === "variable" ? procedure.value : undefined;
  if (typeof name !== "string" || (isMember && procedure?.steps?.length !== 1)) return;
  if (!isMember && (bound.has(name) || isFunctionName(name))) return;
  const cause = new JsonataFailure("unknown_function", { position: node.position, message: `there is no function ${isMember ? name : `$${name}`}` });
  throw invalidExpression(source, cause, isMember && isFunctionName(name) ? `write $${name}` : "see https://docs.jsonata.org for the functions");
}

/** Names bound anywhere: by :=, as parameters, and along paths. */
function boundNames(root: Node): ReadonlySet<string> {
  const names = new Set<string>();
  forEachNode(root, (node) => {
    if (node.type === "bind" && !isPairs(node.lhs)) names.add(String(node.lhs?.value));
    if (node.type === "lambda") for (const parameter of node.arguments ?? []) names.add(String(parameter.value));
    for (const name of [node.focus, node.index]) if (name !== undefined) names.add(name);
  });
  return names;
}

/** Visits every node once; members that hold no nodes (positions, slots, signatures) are skipped by their shape. */
export function forEachNode(root: Node, visit: (node: Node) => void): void {
  const pending: unknown[] = [root];
  const seen = new Set<object>();
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    if (typeof next !== "object" || next === null || next instanceof RegExp || seen.has(next)) continue;
    seen.add(next);
    if (isNode(next)) visit(next);
    pending.push(...Object.values(next).filter((member) => member !== undefined));
  }
}

function isNode(value: object): value is Node {
  return "type" in value && typeof value.type === "string";
}
