/**
 * Path templates of google.api.http: `/v1/pipelines/{pipeline}/versions/{version}`, `/v1/pipelines/{pipeline}:activate`.
 * Taken: literals, `{field}`, `{field.path}`, a verb at the end. Not taken: `*`, `**`, `{name=projects/*}`; the constructor throws, so they fail at start.
 */

export type PathTemplate = {
  readonly text: string;
  readonly segments: readonly TemplateSegment[];
  /** What stands after the colon of the last segment; "" if nothing does. */
  readonly verb: string;
};

export type TemplateSegment = { readonly literal: string } | { readonly variable: string };

export function parsePathTemplate(text: string): PathTemplate {
  const [, path = "", verb = ""] = /^(.*?)(?::([a-z][A-Za-z]*))?$/.exec(text) ?? [];
  if (!path.startsWith("/")) throw new Error(`path template ${JSON.stringify(text)} does not start with a slash`);
  const segments = path
    .slice(1)
    .split("/")
    .map((segment): TemplateSegment => {
      const variable = /^\{([a-z_][a-z0-9_.]*)\}$/.exec(segment)?.[1];
      if (variable !== undefined) return { variable };
      if (!/^[A-Za-z0-9._~-]+$/.test(segment))
        throw new Error(`path template ${JSON.stringify(text)}: segment ${JSON.stringify(segment)} is neither a literal nor {field}`);
      return { literal: segment };
    });
  return { text, segments, verb };
}

/** The names of a template's variables, in order. */
export function variablesOf(template: PathTemplate): string[] {
  return template.segments.flatMap((segment) => ("variable" in segment ? [segment.variable] : []));
}
