/**
 * Holds events that no gateway has checked against their pipeline's input schema: what applications capture in SQL, and copies for replays and backfills.
 * Invariants: events the gateway let in cost one comparison; a schema is compiled once per plan; the message names places and rules, never the whole value.
 */
import { type ErrorCode, type Json, OneDataError, type Plan, type RunDeps, type Violation } from "@onedata/core";
import { parseJson } from "@onedata/formats";
import { compileSchema, type SchemaCheck } from "@onedata/operations";

type Problem = { readonly code: ErrorCode; readonly message: string };

const MAX_VIOLATIONS = 3;

export function createInputCheck(): NonNullable<RunDeps["checkInput"]> {
  // Plans are kept in memory as long as their version is used: what was compiled goes with them.
  const checks = new WeakMap<Plan, SchemaCheck>();
  const checkOf = (plan: Plan, schema: Json): SchemaCheck => {
    const known = checks.get(plan);
    if (known !== undefined) return known;
    const check = compiled(schema);
    checks.set(plan, check);
    return check;
  };
  return ({ plan }, { unchecked, json }) => {
    if (unchecked !== true || plan.inputSchema === undefined) return undefined;
    return problemOf(checkOf(plan, plan.inputSchema), json);
  };
}

/** Applying a spec compiles its schema; should one fail here all the same, its own events say so and the run's other pipelines go on. */
function compiled(schema: Json): SchemaCheck {
  try {
    return compileSchema(schema);
  } catch (error) {
    const { message } = OneDataError.from(error);
    return () => [{ pointer: "", code: "schema", detail: `the pipeline's input schema cannot be used: ${message}` }];
  }
}

function problemOf(check: SchemaCheck, json: Uint8Array): Problem | undefined {
  let violations: readonly Violation[];
  try {
    violations = check(parseJson(decoder.decode(json)));
  } catch (error) {
    return { code: "input.invalid", message: `the event cannot be read as JSON: ${OneDataError.from(error).message}` };
  }
  if (violations.length === 0) return undefined;
  const shown = violations.slice(0, MAX_VIOLATIONS).map(({ pointer, detail }) => (pointer === "" ? detail : `${pointer}: ${detail}`));
  const more = violations.length - shown.length;
  return {
    code: "input.invalid",
    message: `the event does not match the pipeline's input schema: ${shown.join("; ")}${more > 0 ? `; and ${more} more` : ""}`,
  };
}

const decoder = new TextDecoder();
