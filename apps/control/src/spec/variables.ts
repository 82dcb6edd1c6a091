/** `${var.name}` in any text of a spec, from the tenant's settings: one spec serves several environments. Names of members are left alone. */
import { didYouMean, isJsonObject, type Json, type JsonObject, setMember, toPointer, type Violation } from "@onedata/core";

const VARIABLE = /\$\{var\.([A-Za-z_][A-Za-z0-9_-]*)\}/g;

export function resolveVariables(document: Json, variables: Readonly<Record<string, string>>): { value: Json; violations: Violation[] } {
  const violations: Violation[] = [];
  const known = new Map(Object.entries(variables));
  const resolve = (value: Json, path: readonly (string | number)[]): Json => {
    if (typeof value === "string") {
      if (!value.includes("${var.")) return value;
      return value.replace(VARIABLE, (whole, name: string) => {
        const found = known.get(name);
        if (found === undefined) {
          violations.push({
            pointer: toPointer(path),
            code: "spec.unknown_variable",
            detail: `no variable ${JSON.stringify(name)}${didYouMean(name, known.keys()) || ";"} set it with PUT /v1/tenant/variables`,
          });
        }
        return found ?? whole;
      });
    }
    if (Array.isArray(value)) return value.map((item, i) => resolve(item, [...path, i]));
    if (!isJsonObject(value)) return value;
    const object: JsonObject = {};
    for (const [name, member] of Object.entries(value)) setMember(object, name, resolve(member, [...path, name]));
    return object;
  };
  return { value: resolve(document, []), violations };
}
