/** The pages of /docs as text: no template engine, no inline script, no inline style (the policy in `facade.ts` would refuse them). */
import { type CatalogueRow, catalogue } from "@onedata/core";

export function apiPage(): string {
  return page(
    "API",
    '<div id="api" class="api"></div>\n<script src="/docs/assets/swagger-ui-bundle.js"></script>\n<script src="/docs/assets/docs.js"></script>',
    ["/docs/assets/swagger-ui.css", "/docs/assets/docs.css"],
  );
}

export function errorsPage(): string {
  const groups = new Map<string, [string, CatalogueRow][]>();
  for (const [code, row] of Object.entries(catalogue)) {
    const group = code.split(".")[0] ?? code;
    groups.set(group, [...(groups.get(group) ?? []), [code, row]]);
  }
  const sections = [...groups].map(
    ([group, rows]) => `<section><h2>${escape(group)}</h2>\n${rows.map(([code, row]) => entry(code, row)).join("\n")}\n</section>`,
  );
  const body = `<main class="errors">
<h1>Errors</h1>
<p>Every error is problem+json (<a href="https://www.rfc-editor.org/rfc/rfc9457">RFC 9457</a>). Its <code>code</code> is one of these and stays; its
<code>detail</code> says what failed, with which value, and what to do; <code>errors[]</code> points into your document. Codes of dead letters are the same.</p>
${sections.join("\n")}
</main>`;
  return page("Errors", body, ["/docs/assets/docs.css"]);
}

function entry(code: string, { http, grpc, retry, title }: CatalogueRow): string {
  return `<article id="${escape(code)}"><h3><a href="#${escape(code)}"><code>${escape(code)}</code></a></h3><p>${escape(title)}.</p>
<p class="facts"><span>HTTP ${http}</span><span>gRPC ${escape(grpc)}</span><span>${RETRY[retry]}</span></p></article>`;
}

const RETRY: Readonly<Record<CatalogueRow["retry"], string>> = {
  never: "The same request fails again: change it.",
  later: "May succeed unchanged: try again, after Retry-After where it is given.",
  free: "Retried inside; costs you nothing.",
};

function page(title: string, body: string, styles: readonly string[]): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(title)} · OneData</title>
<link rel="icon" href="/docs/assets/favicon-32x32.png">
${styles.map((href) => `<link rel="stylesheet" href="${href}">`).join("\n")}
</head>
<body>
<header><strong>OneData</strong><nav><a href="/docs">API</a><a href="/docs/errors">Errors</a><a href="/openapi.json">openapi.json</a></nav></header>
${body}
</body>
</html>
`;
}

const ESCAPES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escape = (text: string): string => text.replaceAll(/[&<>"]/g, (character) => ESCAPES[character] ?? character);

/** Runs in the browser. `validatorUrl: null`: nothing is asked of any other host. */
export const SCRIPT = `"use strict";
const ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  filter: true,
  requestSnippetsEnabled: true,
  tryItOutEnabled: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
});
ui.initOAuth({ appName: "OneData docs", scopeSeparator: " " });
`;

export const STYLE = `:root { color-scheme: light; --ink: #1d2733; --dim: #5b6b7c; --line: #dfe5eb; --accent: #0b6bcb; }
body { margin: 0; color: var(--ink); background: #fff; font: 16px/1.5 system-ui, sans-serif; }
header { display: flex; gap: 2rem; align-items: baseline; padding: .8rem 1.5rem; background: var(--ink); color: #fff; position: sticky; top: 0; z-index: 5; }
header strong { font-size: 1.1rem; letter-spacing: .02em; }
header nav { display: flex; gap: 1.2rem; }
header a { color: #cfe3f7; text-decoration: none; }
header a:hover { color: #fff; text-decoration: underline; }
.errors { max-width: 60rem; margin: 0 auto; padding: 1rem 1.5rem 6rem; }
.errors h2 { margin: 2rem 0 .5rem; padding-bottom: .2rem; border-bottom: 1px solid var(--line); text-transform: capitalize; }
.errors article { padding: .6rem .8rem; border-left: 3px solid transparent; scroll-margin-top: 4rem; }
.errors article:target { border-left-color: var(--accent); background: #eef5fc; }
.errors h3 { margin: 0; font-size: 1rem; }
.errors h3 a { color: var(--accent); text-decoration: none; }
.errors p { margin: .2rem 0; }
.facts { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; color: var(--dim); font-size: .875rem; }
.api .swagger-ui .info { margin: 1.5rem 0; }
.api .swagger-ui .scheme-container { padding: 1rem 0; box-shadow: none; border-block: 1px solid var(--line); }
`;
