/**
 * An expression whose value is stored. Like the expression itself, but a plain path to a number beyond double precision copies it exactly,
 * where an expression would compute with its double. Other scalars of a plain path are read directly as well: it is the commonest expression.
 */
import { ExactNumber, type Json } from "@onedata/core";
import { compileExpression, type Expression } from "../expression/index.ts";
import { getMember, parseMemberPath } from "../member-path.ts";

export type AssignedValue = Pick<Expression, "evaluate" | "evaluateSync">;

const PLAIN_PATH = /^(?!(?:true|false|null|and|or|in)$)[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*$/;

/** Throws `expression.invalid`. */
export function compileAssignedValue(source: string): AssignedValue {
  const expression = compileExpression(source);
  if (!PLAIN_PATH.test(source)) return expression;
  const path = parseMemberPath(source);
  const direct = (record: Json): Json | undefined => {
    const value = getMember(record, path);
    return typeof value !== "object" || value instanceof ExactNumber ? value : undefined;
  };
  const { evaluateSync } = expression;
  return {
    evaluate: (record, clock) => direct(record) ?? expression.evaluate(record, clock),
    ...(evaluateSync === undefined ? {} : { evaluateSync: (record, clock) => direct(record) ?? evaluateSync(record, clock) }),
  };
}
