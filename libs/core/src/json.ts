/**
 * The values that flow through a pipeline: JSON, kept exactly.
 * A number literal that a double cannot carry (`12345678901234567890`, `1e400`) is an `ExactNumber`; it goes through untouched members as its own text.
 */
export type Json = null | boolean | number | string | ExactNumber | Json[] | JsonObject;
export type JsonObject = { [member: string]: Json };

/** A JSON number literal beyond double precision. Operations that compute with it see its double (`toDouble`). */
export class ExactNumber {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
  toDouble(): number {
    return Number(this.text);
  }
  toString(): string {
    return this.text;
  }
}

export function isJsonObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof ExactNumber);
}

/** Sets an own member, also one named `__proto__` (plain assignment would change the prototype instead). */
export function setMember(target: JsonObject, member: string, value: Json): void {
  if (member === "__proto__") {
    Object.defineProperty(target, member, { value, enumerable: true, configurable: true, writable: true });
  } else {
    target[member] = value;
  }
}

/** A JSON Pointer (RFC 6901) from path segments: `["steps", 0, "with"]` is `/steps/0/with`. */
export function toPointer(segments: readonly (string | number)[]): string {
  return segments.map((s) => `/${String(s).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
}
