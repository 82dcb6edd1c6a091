/** ajv's errors as violations: a JSON Pointer, the rule, and what to do. */

import { type Json, toPointer, type Violation } from "@onedata/core";
import type { ErrorObject } from "ajv/dist/2020.js";
import { describe } from "../outcomes.ts";
import { closest } from "./closest.ts";

/** More would not help anybody. */
const MAX_VIOLATIONS = 20;
/** They only repeat what the errors beside them say. */
const SUMMARIES = new Set(["if", "anyOf", "oneOf", "$ref", "propertyNames"]);

export const isSummary = (error: ErrorObject): boolean => SUMMARIES.has(error.keyword);

/** Where the error is: the member itself when its name is wrong. */
export const pointerOf = (error: ErrorObject): string =>
  error.propertyName === undefined ? error.instancePath : error.instancePath + toPointer([error.propertyName]);

export function toViolations(errors: readonly ErrorObject[]): Violation[] {
  const telling = errors.filter((error) => !isSummary(error));
  const chosen = telling.length > 0 ? telling : errors;
  const violations: Violation[] = [];
  const seen = new Set<string>();
  for (const error of chosen) {
    const violation = toViolation(error);
    const key = `${violation.pointer} ${violation.detail}`;
    if (seen.has(key)) continue;
    seen.add(key);
    violations.push(violation);
    if (violations.length === MAX_VIOLATIONS) break;
  }
  return violations;
}

function toViolation(error: ErrorObject): Violation {
  const { keyword } = error;
  const instancePath = pointerOf(error);
  const params: Readonly<Record<string, unknown>> = error.params;
  // `verbose` makes ajv keep the value; it came in as JSON.
  const value: Json | undefined = error.data as Json | undefined;
  const at = (pointer: string, detail: string): Violation => ({ pointer, code: keyword, detail });
  switch (keyword) {
    case "required":
    case "dependentRequired":
      return at(instancePath, `the member "${text(params["missingProperty"])}" is missing`);
    case "additionalProperties":
    case "unevaluatedProperties": {
      const name = text(params["additionalProperty"] ?? params["unevaluatedProperty"]);
      return at(instancePath + toPointer([name]), `unknown member "${name}"${suggestion(name, Object.keys(knownMembers(error)))}`);
    }
    case "type": {
      const wanted = Array.isArray(params["type"]) ? params["type"].join(" or ") : text(params["type"]);
      return at(instancePath, `must be ${/^[aeio]/.test(wanted) ? "an" : "a"} ${wanted}, is ${describe(value)}`);
    }
    case "enum": {
      const allowed = Array.isArray(params["allowedValues"]) ? params["allowedValues"] : [];
      const names = allowed.filter((item) => typeof item === "string");
      const list = allowed
        .slice(0, 20)
        .map((item) => JSON.stringify(item))
        .join(", ");
      return at(
        instancePath,
        `must be one of ${list}${allowed.length > 20 ? ", …" : ""}, is ${describe(value)}${typeof value === "string" ? suggestion(value, names) : ""}`,
      );
    }
    case "const":
      return at(instancePath, `must be ${JSON.stringify(params["allowedValue"])}, is ${describe(value)}`);
    case "pattern":
      return at(instancePath, `must match the pattern ${text(params["pattern"])}, is ${describe(value)}`);
    case "format":
      return at(instancePath, `must be written as "${text(params["format"])}", is ${describe(value)}`);
    case "false schema":
      return at(instancePath, "must not be here");
    default:
      return at(instancePath, `${error.message ?? `breaks the rule "${keyword}"`}, is ${describe(value)}`);
  }
}

const suggestion = (name: string, known: readonly string[]): string => {
  const near = closest(name, known);
  if (near !== undefined) return `; did you mean "${near}"?`;
  return known.length > 0 && known.length <= 12 ? `; known: ${known.join(", ")}` : "";
};

function knownMembers(error: ErrorObject): object {
  const properties: unknown = error.parentSchema?.["properties"];
  return typeof properties === "object" && properties !== null ? properties : {};
}

const text = (value: unknown): string => (typeof value === "string" ? value : (JSON.stringify(value) ?? ""));
