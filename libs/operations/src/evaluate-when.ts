/** `when` of steps, compiled once per expression. Missing, empty and zero are false, as in record.filter. */
import { OneDataError } from "@onedata/core";
import { parseJson } from "@onedata/formats";
import { compileExpression, type Expression } from "./expression/index.ts";
import { isTrue } from "./truth.ts";

const MAX_EXPRESSIONS = 2000;

export type EvaluateWhen = (expression: string, json: Uint8Array, timeUnixMs: number) => boolean | Promise<boolean>;

export function createEvaluateWhen(): EvaluateWhen {
  const compiled = new Map<string, Expression>();
  const decoder = new TextDecoder();
  const compile = (source: string): Expression => {
    let expression = compiled.get(source);
    if (expression === undefined) {
      expression = compileExpression(source);
      if (compiled.size >= MAX_EXPRESSIONS) compiled.clear();
      compiled.set(source, expression);
    }
    return expression;
  };
  return (source, json, timeUnixMs) => {
    const expression = compile(source);
    const record = parse(decoder.decode(json));
    if (expression.evaluateSync !== undefined) return isTrue(expression.evaluateSync(record, { timeUnixMs }));
    return Promise.resolve(expression.evaluate(record, { timeUnixMs })).then(isTrue);
  };
}

function parse(text: string): ReturnType<typeof parseJson> {
  try {
    return parseJson(text);
  } catch (cause) {
    throw new OneDataError("record.parse_failed", "the record is not JSON", { cause });
  }
}
