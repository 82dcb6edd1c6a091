/** Query parameters: of any route as text, and of the routes that are matched by hand, where what is not understood is refused as everywhere else. */
import { textProblem } from "@onedata/contracts";
import { didYouMean, OneDataError } from "@onedata/core";

const NONE: readonly string[] = [];

/** What stands after the `?` of a URL. Throws `request.malformed` where `URLSearchParams` would put U+FFFD or leave the escape as it is. */
export function parseQuery(url: string | undefined): URLSearchParams {
  const question = url?.indexOf("?") ?? -1;
  const text = question < 0 ? "" : (url?.slice(question + 1) ?? "");
  for (const part of text.includes("%") ? text.split("&") : NONE) {
    try {
      decodeURIComponent(part);
    } catch (cause) {
      throw new OneDataError(
        "request.malformed",
        `the query parameter ${JSON.stringify(part.slice(0, 200))} has a broken percent escape: write text as UTF-8, and % as %25`,
        { cause },
      );
    }
  }
  return new URLSearchParams(text);
}

/** Those after the `?`. Throws `request.invalid` for unknown ones and for ones given twice; `repeated` may be. */
export function readQuery(url: string | undefined, known: readonly string[], repeated: readonly string[] = NONE): URLSearchParams {
  const query = parseQuery(url);
  const violations = [...new Set(query.keys())].flatMap((name) => {
    const pointer = `/${name}`;
    if (!known.includes(name)) {
      const hint = didYouMean(name, known) || (known.length === 0 ? "; this route takes none" : `; known: ${known.join(", ")}`);
      return [{ pointer, code: "unknown", detail: `unknown query parameter ${JSON.stringify(name)}${hint}` }];
    }
    const values = query.getAll(name);
    if (values.length > 1 && !repeated.includes(name))
      return [{ pointer, code: "duplicate", detail: `query parameter ${name} is given ${values.length} times: give it once` }];
    const problem = values.map(textProblem).find((each) => each !== undefined);
    return problem === undefined ? [] : [{ pointer, code: problem.code, detail: `query parameter ${name} ${problem.detail}` }];
  });
  if (violations.length > 0) throw new OneDataError("request.invalid", violations.map(({ detail }) => detail).join("; "), { violations });
  return query;
}
