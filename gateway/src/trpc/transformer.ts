/**
 * What JSON cannot say, for tRPC: dates {$d}, bigints {$n}, bytes {$b}; {$e} wraps an object of the user's that looks like one of these.
 * Runs in a browser; server and client links take the same one.
 */
export const transformer = { serialize: encode, deserialize: decode };

const TAG = /^\$[dnbe]$/;

function encode(value: unknown): unknown {
  if (typeof value === "bigint") return { $n: String(value) };
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Date) return { $d: value.getTime() };
  if (value instanceof Uint8Array) return { $b: toBase64(value) };
  if (Array.isArray(value)) return value.map(encode);
  const entries = Object.entries(value).map(([key, item]): [string, unknown] => [key, encode(item)]);
  const looksTagged = entries.length === 1 && TAG.test(entries[0]?.[0] ?? "");
  return looksTagged ? { $e: Object.fromEntries(entries) } : Object.fromEntries(entries);
}

function decode(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(decode);
  const entries = Object.entries(value);
  const [key, item] = entries.length === 1 ? (entries[0] ?? []) : [];
  if (key === "$n" && typeof item === "string" && /^-?\d{1,40}$/.test(item)) return BigInt(item);
  if (key === "$d" && typeof item === "number") return new Date(item);
  if (key === "$b" && typeof item === "string") return Uint8Array.from(atob(item), (character) => character.charCodeAt(0));
  if (key === "$e" && typeof item === "object" && item !== null) return decodeEntries(Object.entries(item));
  return decodeEntries(entries);
}

const decodeEntries = (entries: [string, unknown][]): unknown => Object.fromEntries(entries.map(([key, item]) => [key, decode(item)]));

function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}
