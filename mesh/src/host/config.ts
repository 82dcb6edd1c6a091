/**
 * Configuration from environment variables and arguments, checked as a whole.
 * A setting `meshSecret` is `ONEDATA_MESH_SECRET`, `--mesh-secret=…` (which wins), or the content of the file that `ONEDATA_MESH_SECRET_FILE` names.
 * Where a standard has named a variable for the same thing (`OTEL_…`), that one counts when none of these is given.
 * Invariants: every problem is reported at once, each with the names to use; values of secrets appear in no message; nothing is read at import.
 */
import { readFileSync } from "node:fs";
import { OneDataError, type Violation } from "@onedata/core";

export type Setting<T> = {
  /** For `--help` and messages: what it is, with an example. */
  readonly doc: string;
  readonly secret: boolean;
  /** A variable that others have named; counts where none of ours is set. */
  readonly variable?: string | undefined;
  /** What stands for an absent value; undefined = the setting must be given. */
  readonly absent: { readonly value: T } | undefined;
  /** Answers the value or, as a string with `wrong`, what is wrong with it. */
  readonly parse: (text: string) => { readonly value: T } | { readonly wrong: string };
};

export type Schema = { readonly [name: string]: Setting<unknown> };
export type ConfigOf<S extends Schema> = { readonly [K in keyof S]: S[K] extends Setting<infer T> ? T : never };
export type Environment = { readonly [name: string]: string | undefined };

type Options<T> = { readonly doc: string; readonly default?: T };

const absentOf = <T>(options: Options<T>): { readonly value: T } | undefined =>
  "default" in options && options.default !== undefined ? { value: options.default } : undefined;

/** Kinds of settings. Without a default a setting must be given; `optional` makes it undefined. */
export const setting = {
  text: (options: Options<string> & { readonly pattern?: RegExp }): Setting<string> => ({
    doc: options.doc,
    secret: false,
    absent: absentOf(options),
    parse: (value) =>
      options.pattern === undefined || options.pattern.test(value) ? { value } : { wrong: `does not match ${options.pattern.source}` },
  }),
  secret: (options: Options<string> & { readonly minLength?: number }): Setting<string> => ({
    doc: options.doc,
    secret: true,
    absent: absentOf(options),
    parse: (value) => (value.length >= (options.minLength ?? 1) ? { value } : { wrong: `must have at least ${options.minLength} characters` }),
  }),
  integer: (options: Options<number> & { readonly min?: number; readonly max?: number }): Setting<number> => ({
    doc: options.doc,
    secret: false,
    absent: absentOf(options),
    parse(text) {
      const value = Number(text);
      const { min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = options;
      return /^-?\d+$/.test(text) && value >= min && value <= max ? { value } : { wrong: `must be a whole number from ${min} to ${max}` };
    },
  }),
  number: (options: Options<number> & { readonly min: number; readonly max: number }): Setting<number> => ({
    doc: options.doc,
    secret: false,
    absent: absentOf(options),
    parse(text) {
      const value = Number(text);
      const isRight = /^\d+(\.\d+)?$/.test(text) && value >= options.min && value <= options.max;
      return isRight ? { value } : { wrong: `must be a number from ${options.min} to ${options.max}` };
    },
  }),
  /** 0 takes any free one. */
  port: (options: Options<number>): Setting<number> => setting.integer({ ...options, min: 0, max: 65_535 }),
  flag: (options: Options<boolean>): Setting<boolean> => ({
    doc: options.doc,
    secret: false,
    absent: absentOf(options),
    parse: (text) =>
      /^(true|1|yes|)$/i.test(text) ? { value: true } : /^(false|0|no)$/i.test(text) ? { value: false } : { wrong: "must be true or false" },
  }),
  oneOf: <const T extends string>(values: readonly T[], options: Options<T>): Setting<T> => ({
    doc: options.doc,
    secret: false,
    absent: absentOf(options),
    parse(text) {
      const value = values.find((each) => each === text);
      return value === undefined ? { wrong: `must be one of ${values.join(", ")}` } : { value };
    },
  }),
  optional: <T>(inner: Setting<T>): Setting<T | undefined> => ({ ...inner, absent: { value: undefined } }),
  /** `variable` counts too, e.g. one that a standard has named. */
  also: <T>(variable: string, inner: Setting<T>): Setting<T> => ({ ...inner, variable }),
};

/** Throws `config.problems` with one violation per problem. `argv` is without node and script. */
export function readConfig<S extends Schema>(schema: S, env: Environment, argv: readonly string[] = []): ConfigOf<S> {
  const problems: Violation[] = [];
  const args = readArguments(schema, argv, problems);
  const config: { [name: string]: unknown } = {};
  for (const [name, each] of Object.entries(schema)) {
    const given = args.get(name) ?? readVariable(name, env, problems) ?? readStandardVariable(each, env);
    if (given === undefined) {
      if (each.absent === undefined) problems.push({ pointer: `/${name}`, code: "missing", detail: `${namesOf(name)} is missing: ${each.doc}` });
      else config[name] = each.absent.value;
      continue;
    }
    const parsed = each.parse(given);
    if ("wrong" in parsed)
      problems.push({
        pointer: `/${name}`,
        code: "invalid",
        detail: `${namesOf(name)}${each.secret ? "" : ` = ${JSON.stringify(given)}`} ${parsed.wrong}: ${each.doc}`,
      });
    else config[name] = parsed.value;
  }
  if (problems.length > 0) {
    throw new OneDataError(
      "config.problems",
      `the configuration has ${problems.length} problem(s):\n${problems.map(({ detail }) => `  - ${detail}`).join("\n")}`,
      { violations: problems },
    );
  }
  // Filled key by key from the same schema; TypeScript cannot follow that.
  return config as ConfigOf<S>;
}

/** One line per setting, for `--help`. */
export const describeConfig = (schema: Schema): string =>
  Object.entries(schema)
    .map(
      ([name, each]) =>
        `  ${namesOf(name, each.variable).padEnd(52)} ${each.doc}${each.absent === undefined ? " (must be given)" : each.absent.value === undefined || each.secret ? "" : ` [${JSON.stringify(each.absent.value)}]`}`,
    )
    .join("\n");

const variableOf = (name: string): string => `ONEDATA_${name.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
const argumentOf = (name: string): string => `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
const namesOf = (name: string, variable?: string): string =>
  `${variableOf(name)} (${argumentOf(name)}${variable === undefined ? "" : `, ${variable}`})`;

/** Empty means absent there: so OpenTelemetry's specification has it. */
const readStandardVariable = ({ variable }: Setting<unknown>, env: Environment): string | undefined =>
  (variable === undefined ? undefined : env[variable]) || undefined;

function readVariable(name: string, env: Environment, problems: Violation[]): string | undefined {
  const variable = variableOf(name);
  const value = env[variable];
  if (value !== undefined) return value;
  const file = env[`${variable}_FILE`];
  if (file === undefined) return undefined;
  try {
    return readFileSync(file, "utf8").trimEnd();
  } catch (error) {
    problems.push({
      pointer: `/${name}`,
      code: "unreadable",
      detail: `${variable}_FILE = ${JSON.stringify(file)} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
    });
    return "";
  }
}

function readArguments(schema: Schema, argv: readonly string[], problems: Violation[]): Map<string, string> {
  const names = new Map(Object.keys(schema).map((name) => [argumentOf(name), name]));
  const found = new Map<string, string>();
  for (const argument of argv) {
    const [, flag = argument, value = ""] = /^(--[^=]+)=?(.*)$/s.exec(argument) ?? [];
    const name = names.get(flag);
    if (name === undefined)
      problems.push({
        pointer: "",
        code: "unknown",
        detail: `unknown argument ${JSON.stringify(flag)}; known: ${[...names.keys()].join(", ")} (as --name=value)`,
      });
    else found.set(name, value);
  }
  return found;
}
