/**
 * Where the values of a JSON text stand. Duty: start and end of every value, in text that JSON.parse has accepted. Non-duty: checking syntax.
 * Why own: no parser on the platform tells positions, and the digits of a number are lost once it is parsed.
 */
export type Span = { readonly start: number; readonly end: number; readonly members?: readonly SpannedMember[]; readonly items?: readonly Span[] };

export type SpannedMember = { readonly name: string; readonly value: Span };

/** Spans of the whole value; `text` must be valid JSON. */
export const readValue = (text: string): Span => value(text, skip(text, 0));

function value(text: string, start: number): Span {
  switch (text.charAt(start)) {
    case "{":
      return object(text, start);
    case "[":
      return array(text, start);
    case '"':
      return { start, end: string(text, start) };
    default: {
      let end = start;
      while (end < text.length && !/[\s,\]}]/.test(text.charAt(end))) end++;
      return { start, end };
    }
  }
}

function object(text: string, start: number): Span {
  const members: SpannedMember[] = [];
  let at = skip(text, start + 1);
  while (text[at] !== "}" && at < text.length) {
    const end = string(text, at);
    const name: unknown = JSON.parse(text.slice(at, end));
    const member = value(text, skip(text, skip(text, end) + 1));
    members.push({ name: String(name), value: member });
    at = skip(text, member.end);
    if (text[at] === ",") at = skip(text, at + 1);
  }
  return { start, end: at + 1, members };
}

function array(text: string, start: number): Span {
  const items: Span[] = [];
  let at = skip(text, start + 1);
  while (text[at] !== "]" && at < text.length) {
    const item = value(text, at);
    items.push(item);
    at = skip(text, item.end);
    if (text[at] === ",") at = skip(text, at + 1);
  }
  return { start, end: at + 1, items };
}

/** Index after the closing quote. */
function string(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at + 1;
}

function skip(text: string, at: number): number {
  while (at < text.length && /\s/.test(text.charAt(at))) at++;
  return at;
}
