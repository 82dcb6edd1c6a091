/** Takes a migration's text apart: statements, and the comments that stand before or in them. Knows quotes, dollar quotes and both kinds of comments. */

export type SqlStatement = {
  /** Without comments; a function's body is left out, a DO block's is not. */
  readonly text: string;
  /** As it is run. */
  readonly source: string;
  readonly comments: string;
};

const TOKEN = /--[^\n]*|\/\*[\s\S]*?\*\/|'(?:[^']|'')*'|"(?:[^"]|"")*"|(\$\w*\$)[\s\S]*?\1|;|[^-/'"$;]+|[\s\S]/g;

export function splitStatements(sql: string): SqlStatement[] {
  const statements: SqlStatement[] = [];
  let [text, source, comments] = ["", "", ""];
  const end = (): void => {
    if (text.trim() !== "") statements.push({ text: text.trim().replaceAll(/\s+/g, " "), source: source.trim(), comments });
    [text, source, comments] = ["", "", ""];
  };
  for (const [token] of sql.matchAll(TOKEN)) {
    if (token === ";") {
      end();
      continue;
    }
    source += token;
    if (token.startsWith("--") || token.startsWith("/*")) comments += `${token}\n`;
    else if (/^\$\w*\$/.test(token)) text += /^\s*do\b/i.test(text) ? token : " $body$ ";
    else text += token;
  }
  end();
  return statements;
}
