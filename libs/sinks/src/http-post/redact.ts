/**
 * Takes a connection's secrets out of what a receiver says: it may echo what it was sent, whole or cut, as it came or escaped.
 *
 * Invariants:
 *  1. Redact first, cut afterwards: a cut through a secret would hide it from the search.
 *  2. Of a secret of `PIECE` characters or more no piece of `PIECE` characters is left, so cuts of others (the receiver's own, the client's at its most bytes) leave less than that.
 *  3. A secret shorter than `PIECE` goes where it stands whole. One shorter than `SHORT` is in so many texts that taking it out would shred them and show where it stood:
 *     a text that holds it is not shown at all.
 *  4. Looked for, without regard to case: the secret as it stands, in Base64 and in hex; of Basic credentials also what they encode; each of these as sent, or inside up to two layers of
 *     JSON escapes, percent escapes and HTML entities.
 *
 * Non-duty: a receiver that wants to betray the secret. It knows it, and can always find a form that is not looked for.
 */
const PIECE = 6;
const SHORT = 4;
const MAX_LAYERS = 2;
/** Enough to fill a quote, even where much of it is redacted. */
const MAX_LOOKED_AT = 4000;

export type Redactor = {
  /** For texts of our own that may hold a word of the receiver, such as the host of a redirect. Secrets shorter than `SHORT` stay. */
  redact(text: string): string;
  /** What the receiver said, without secrets, at most `maxCharacters` and the mark of a cut. */
  quote(said: string, maxCharacters: number): string;
};

export function createRedactor(secretHeaders: Readonly<Record<string, string>>): Redactor {
  const secrets = Object.entries(secretHeaders).flatMap(([name, value]) => secretsOf(name, value));
  const short = secrets.filter((secret) => secret.length < SHORT).map(toLower);
  const pieces = new Set(secrets.flatMap((secret) => [secret, ...encodingsOf(secret)]).flatMap(piecesOf));
  const lengths = [...new Set([...pieces].map((piece) => piece.length))];

  const redactLayers = (layers: readonly Layer[], text: string): string => {
    const hidden = new Uint8Array(text.length);
    for (const { chars, from } of layers)
      for (let at = 0; at < chars.length; at++)
        for (const length of lengths)
          if (pieces.has(chars.slice(at, at + length))) hidden.fill(1, from[at], from[Math.min(at + length, chars.length)]);
    let shown = "";
    for (let at = 0; at < text.length; at++) shown += hidden[at] === 0 ? text[at] : hidden[at - 1] === 1 ? "" : "***";
    return shown;
  };
  return {
    redact: (text) => redactLayers(layersOf(text), text),
    quote(said, maxCharacters) {
      const text = said.trim().slice(0, MAX_LOOKED_AT);
      const layers = layersOf(text);
      if (layers.some(({ chars }) => short.some((secret) => chars.includes(secret))))
        return "(not shown: it holds a secret of the connection that is too short to take out)";
      const shown = redactLayers(layers, text);
      return shown.length > maxCharacters ? `${shown.slice(0, maxCharacters)}…` : shown;
    },
  };
}

/** The parts of a header's value that nobody may read. */
function secretsOf(name: string, value: string): string[] {
  const [, scheme, rest = ""] = /^proxy-authorization$|^authorization$/i.test(name) ? (/^\s*(\S+)\s+(\S.*)$/.exec(value) ?? []) : [];
  const whole = (scheme === undefined ? value : rest).trim();
  const parts = whole.split(/[\s;,]+/).flatMap((part) => [part, part.slice(part.indexOf("=") + 1)]);
  const basic = scheme?.toLowerCase() === "basic" ? Buffer.from(whole, "base64").toString("utf8") : "";
  const password = basic.slice(basic.indexOf(":") + 1);
  return [whole, basic, password, ...parts.filter((part) => part.length >= SHORT)].filter((secret) => secret !== "");
}

/** Hex, and Base64 of a text that holds the secret anywhere: by its offset modulo 3, without the characters that its neighbours have a part in. */
function encodingsOf(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const base64 = [0, 1, 2].map((offset) => {
    const encoded = Buffer.concat([Buffer.alloc(offset), bytes]).toString("base64");
    return encoded.slice(Math.ceil((offset * 8) / 6), Math.floor(((offset + bytes.length) * 8) / 6));
  });
  return [bytes.toString("hex"), ...base64, ...base64.map((text) => text.replaceAll("+", "-").replaceAll("/", "_"))];
}

function piecesOf(needle: string): string[] {
  const text = toLower(needle);
  if (text.length < SHORT) return [];
  if (text.length <= PIECE) return [text];
  return Array.from({ length: text.length - PIECE + 1 }, (_, at) => text.slice(at, at + PIECE));
}

/** A reading of the text: `chars[i]` came from `from[i]` to `from[i + 1]` of it. */
type Layer = { readonly chars: string; readonly from: readonly number[] };

const DECODERS: readonly { readonly pattern: RegExp; readonly decode: (match: RegExpExecArray) => string }[] = [
  { pattern: /\\(?:u([0-9a-f]{4})|([^u]))/gi, decode: ([, code, char = ""]) => (code === undefined ? unescaped(char) : fromCode(code, 16)) },
  { pattern: /%([0-9a-f]{2})|\+/gi, decode: ([, code]) => (code === undefined ? " " : fromCode(code, 16)) },
  {
    pattern: /&(?:#([0-9]{1,6})|#x([0-9a-f]{1,5})|(amp|lt|gt|quot|apos));/gi,
    decode: ([, decimal, hex, name = ""]) =>
      decimal !== undefined ? fromCode(decimal, 10) : hex !== undefined ? fromCode(hex, 16) : (ENTITIES[toLower(name)] ?? ""),
  },
];
const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };
const ESCAPES: Readonly<Record<string, string>> = { t: "\t", n: "\n", r: "\r", b: "\b", f: "\f" };
const unescaped = (char: string): string => ESCAPES[char] ?? char;
/** One character: secrets have no others. */
const fromCode = (digits: string, base: number): string => String.fromCharCode(Number.parseInt(digits, base));

function layersOf(text: string): Layer[] {
  const layers: Layer[] = [{ chars: text, from: Array.from({ length: text.length + 1 }, (_, at) => at) }];
  for (let depth = 0, begin = 0; depth < MAX_LAYERS; depth++) {
    const outer = layers.slice(begin);
    begin = layers.length;
    for (const layer of outer) layers.push(...DECODERS.map((decoder) => decodeLayer(layer, decoder)).filter(({ chars }) => chars !== layer.chars));
  }
  return layers.map(({ chars, from }) => ({ chars: toLower(chars), from }));
}

function decodeLayer({ chars, from }: Layer, { pattern, decode }: (typeof DECODERS)[number]): Layer {
  let decoded = "";
  const starts: number[] = [];
  const take = (char: string, at: number): void => {
    decoded += char;
    starts.push(from[at] ?? 0);
  };
  let at = 0;
  for (const match of chars.matchAll(pattern)) {
    for (; at < match.index; at++) take(chars[at] ?? "", at);
    take(decode(match), at);
    at += match[0].length;
  }
  for (; at < chars.length; at++) take(chars[at] ?? "", at);
  starts.push(from[chars.length] ?? 0);
  return { chars: decoded, from: starts };
}

/** Of ASCII letters only, so that the length stays. */
const toLower = (text: string): string => text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
