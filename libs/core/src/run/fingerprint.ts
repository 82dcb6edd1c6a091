/**
 * Dead letters whose causes have one shape share a fingerprint: the step, the code, and the message with its values taken out.
 * The hash is 64-bit FNV-1a (Fowler, Noll, Vo): it names a group for people and guards nothing.
 */
export function fingerprintOf(cause: { readonly step: string; readonly code: string; readonly message: string }): string {
  return fnv1a64(`${cause.step}\n${cause.code}\n${shapeOf(cause.message)}`);
}

/** Quoted text, numbers and long identifiers become placeholders. */
export function shapeOf(message: string): string {
  return message
    .slice(0, 500)
    .replace(/"(?:[^"\\]|\\.)*"|'[^']*'|`[^`]*`/g, '"…"')
    .replace(/\b[0-9a-f]{8,}\b/gi, "#")
    .replace(/[-+]?\d+(?:[.,]\d+)*/g, "#");
}

/**
 * The shape for people who are told of it: what says where and how something failed stays — scheme, host and port of an address, the HTTP status after "answers",
 * codes of expressions (`: D3030`) and of Postgres (`SQLSTATE 23505`). None of them is data of a customer; what is quoted is hidden whatever it is.
 */
export function toldShapeOf(message: string): string {
  return message
    .slice(0, 500)
    .replace(TOLD, (found: string, quoted?: string, kept?: string) => (quoted !== undefined ? '"…"' : kept !== undefined ? found : "#"));
}

const TOLD =
  /("(?:[^"\\]|\\.)*"|'[^']*'|`[^`]*`)|(\bhttps?:\/\/[a-zA-Z0-9.-]+(?::\d{1,5})?(?=[/?#\s,;:]|$)|(?<=\banswers )[1-5]\d\d\b|(?<=: )[DSTU]\d{4}\b|(?<=\bSQLSTATE )[0-9A-Z]{5}\b)|\b[0-9a-fA-F]{8,}\b|[-+]?\d+(?:[.,]\d+)*/g;

/** h = (h xor unit) * 0x100000001b3 mod 2^64, as two 32-bit halves: BigInt would cost ten times as much on a batch of dead letters. */
function fnv1a64(text: string): string {
  let high = 0xcbf29ce4;
  let low = 0x84222325;
  for (let i = 0; i < text.length; i++) {
    low = (low ^ text.charCodeAt(i)) >>> 0;
    const product = low * 0x1b3;
    high = (Math.imul(high, 0x1b3) + Math.floor(product / 0x1_0000_0000) + (low << 8)) >>> 0;
    low = product % 0x1_0000_0000;
  }
  return high.toString(16).padStart(8, "0") + low.toString(16).padStart(8, "0");
}
