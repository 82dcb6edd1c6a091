/**
 * Finds the route of a request: a trie over path segments; a literal wins over a variable.
 * Duty: matching, the methods that a path takes, the nearest route of an unknown path. Non-duty: what a route does.
 * Invariants: two routes of one method and shape are refused at start; variables are percent-decoded once; a path is never normalised.
 */
import { didYouMean } from "@onedata/core";
import { type PathTemplate, parsePathTemplate, variablesOf } from "./path-template.ts";

/** The least that the router knows of a route. */
export type Routed = { readonly method: string; readonly path: string };

export type Match<R extends Routed> = {
  /** By HTTP method; never empty. */
  readonly routes: ReadonlyMap<string, R>;
  readonly values: readonly string[];
};

export type Router<R extends Routed> = {
  /** Undefined when no route has this path. Throws `URIError` on a broken percent escape. */
  find(path: string): Match<R> | undefined;
  /** `; did you mean "..."?`, or an empty text. */
  hint(path: string): string;
};

type Node<R extends Routed> = { readonly literals: Map<string, Node<R>>; variable: Node<R> | undefined; readonly verbs: Map<string, Map<string, R>> };

export function createRouter<R extends Routed>(routes: readonly R[]): Router<R> {
  const root = emptyNode<R>();
  const templates: PathTemplate[] = [];
  for (const route of routes) {
    const template = parsePathTemplate(route.path);
    templates.push(template);
    let node = root;
    for (const segment of template.segments) node = childOf(node, segment);
    let methods = node.verbs.get(template.verb);
    if (methods === undefined) node.verbs.set(template.verb, (methods = new Map()));
    if (methods.has(route.method)) throw new Error(`two routes for ${route.method} ${route.path}`);
    methods.set(route.method, route);
  }
  return {
    find(path) {
      const { segments, verb } = splitPath(path);
      const values: string[] = [];
      const found = search(root, segments, 0, verb, values);
      return found === undefined ? undefined : { routes: found, values: values.map(decodeURIComponent) };
    },
    hint: (path) =>
      didYouMean(
        path,
        templates.map((template) => likePath(template, path)),
      ),
  };
}

/** Values by the names that the matched route gives its variables. */
export function namedValues(route: Routed, values: readonly string[]): [name: string, value: string][] {
  return variablesOf(parsePathTemplate(route.path)).map((name, i) => [name, values[i] ?? ""]);
}

const emptyNode = <R extends Routed>(): Node<R> => ({ literals: new Map(), variable: undefined, verbs: new Map() });

function childOf<R extends Routed>(node: Node<R>, segment: PathTemplate["segments"][number]): Node<R> {
  if ("variable" in segment) return (node.variable ??= emptyNode());
  let child = node.literals.get(segment.literal);
  if (child === undefined) node.literals.set(segment.literal, (child = emptyNode()));
  return child;
}

function search<R extends Routed>(
  node: Node<R>,
  segments: readonly string[],
  at: number,
  verb: string,
  values: string[],
): ReadonlyMap<string, R> | undefined {
  const segment = segments[at];
  if (segment === undefined) return node.verbs.get(verb);
  const literal = node.literals.get(segment);
  const found = literal === undefined ? undefined : search(literal, segments, at + 1, verb, values);
  if (found !== undefined) return found;
  if (node.variable === undefined || segment === "") return undefined;
  values.push(segment);
  const under = search(node.variable, segments, at + 1, verb, values);
  if (under === undefined) values.pop();
  return under;
}

function splitPath(path: string): { segments: string[]; verb: string } {
  const slash = path.lastIndexOf("/");
  const colon = path.lastIndexOf(":");
  const cut = colon > slash;
  return { segments: (cut ? path.slice(0, colon) : path).slice(1).split("/"), verb: cut ? path.slice(colon + 1) : "" };
}

/** The template with its variables filled from the path, so that only what was mistyped counts as distance. */
function likePath(template: PathTemplate, path: string): string {
  const { segments } = splitPath(path);
  const filled = template.segments.map((segment, i) => ("literal" in segment ? segment.literal : segments[i] || `{${segment.variable}}`));
  return `/${filled.join("/")}${template.verb === "" ? "" : `:${template.verb}`}`;
}
