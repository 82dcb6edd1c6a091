/** Every operation's own examples, through the chain that services run. An operation that is not described well does not pass. */
import { isJsonObject, type Json, type JsonObject, OneDataError } from "@onedata/core";
import { stringifyJson } from "@onedata/formats";
import { describe, expect, it } from "vitest";
import { applySteps } from "./apply-steps.ts";
import { checkConfig } from "./check-config.ts";
import { type OperationDeps, type StepCall, type TableRow, withCall } from "./operation.ts";
import { operations } from "./registry.ts";

/** The lookup table that examples may use: `countries`, uploaded with `code` as its key. */
const countries: readonly JsonObject[] = [
  { code: "NO", name: "Norway", continent: "Europe", calling_code: 47 },
  { code: "JP", name: "Japan", continent: "Asia", calling_code: 81 },
  { code: "VN", name: "Vietnam", continent: "Asia", calling_code: 84 },
];
const keyOf = (row: JsonObject, column: string): string => stringifyJson(row[column] ?? null).replaceAll('"', "");
const deps: OperationDeps = {
  lookups: {
    async get(table, column, keys) {
      if (table !== "countries") throw new OneDataError("lookup.not_found", `no lookup table "${table}"`);
      const rows = countries.map((row): [string, JsonObject] => [keyOf(row, column), row]);
      return new Map(rows.filter(([key]) => keys.includes(key)));
    },
  },
};

/** The same table in the database of the connection that examples may name. */
const call: StepCall = {
  tables: {
    find: async ({ column, keys }) =>
      new Map(
        keys.flatMap((key): [string, TableRow][] => {
          const [row, ...more] = countries.filter((each) => keyOf(each, column) === key);
          return row === undefined ? [] : [[key, more.length > 0 ? { kind: "ambiguous" } : { kind: "row", row }]];
        }),
      ),
  },
};
const timeUnixMs = Date.UTC(2026, 10, 23, 12, 30);

describe.each(operations.map((operation) => ({ name: operation.description.name, operation })))("$name", ({ operation }) => {
  const { description } = operation;

  it.each(description.examples.map((example) => ({ title: example.name, example })))("$title", async ({ example }) => {
    expect(checkConfig(description, example.config)).toEqual([]);
    const step = withCall(operation.compile(example.config, deps), call);
    const [result] = await applySteps([step], [{ n: 0, json: JSON.stringify(example.input), timeUnixMs }]);
    if (example.outputs !== undefined) {
      expect(result).toMatchObject({ kind: "outputs" });
      if (result?.kind === "outputs") expect(result.outputs.map((text): unknown => JSON.parse(text))).toEqual(example.outputs);
    } else if (example.filtered === true) expect(result).toEqual({ n: 0, kind: "filtered", step: 0 });
    else {
      expect(result).toMatchObject({ kind: "failed", step: 0, code: example.fails, retryable: false });
      if (result?.kind === "failed") expect(result.message.length).toBeGreaterThan(10);
    }
  });

  it("never changes the record it is given", async () => {
    for (const { config, input } of description.examples) {
      const step = withCall(operation.compile(config, deps), call);
      const before = structuredClone(input);
      const frozen = deepFreeze(structuredClone(input));
      try {
        const ready = (await step.prepare?.([{ record: frozen, clock: { timeUnixMs } }])) ?? step;
        await ready.apply(frozen, { timeUnixMs });
      } catch (error) {
        expect(error).toBeInstanceOf(OneDataError);
      }
      expect(frozen).toEqual(before);
    }
  });

  it("is described: a family, a title, a doc, three examples of which one fails, and a closed config", () => {
    expect(description.name).toMatch(/^[a-z]+\.[a-z]+$/);
    expect(description.title.length).toBeGreaterThan(5);
    expect(description.doc.length).toBeGreaterThan(80);
    expect(description.examples.length).toBeGreaterThanOrEqual(3);
    expect(description.examples.some((example) => example.fails !== undefined)).toBe(true);
    expect(description.configSchema["additionalProperties"]).toBe(false);
    expect(isJsonObject(description.configSchema["properties"])).toBe(true);
  });

  it("refuses a misspelt option and says which was meant", () => {
    const known = Object.keys(description.configSchema["properties"] as JsonObject);
    const [first = ""] = known;
    const misspelt = `${first}x`;
    const violations = checkConfig(description, { ...description.examples[0]?.config, [misspelt]: 1 });
    expect(violations).toContainEqual({
      pointer: `/${misspelt}`,
      code: "additionalProperties",
      detail: `unknown member "${misspelt}"; did you mean "${first}"?`,
    });
    expect(() => operation.compile({ [misspelt]: 1 }, deps)).toThrow(OneDataError);
  });
});

function deepFreeze(value: Json): Json {
  if (typeof value === "object" && value !== null) for (const item of Object.values(Object.freeze(value))) deepFreeze(item as Json);
  return value;
}
