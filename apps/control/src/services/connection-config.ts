/** What can be known to be wrong with a connection before anything is connected to. Messages never show the value of a secret. */
import type { Json, JsonObject, Violation } from "@onedata/core";
import { compileSchema, type SchemaCheck } from "@onedata/operations";
import { connectionSchemas } from "@onedata/sinks";

/** Members that must not lie in the open part of a connection. */
export const SECRET_NAME = /(password|passwd|secret|token|api_?key|authorization|private_?key)/i;

const compiled = new Map<string, SchemaCheck>();

export type ConnectionInput = {
  readonly kind: string;
  readonly config: JsonObject;
  /** As they were sent: an empty one is to be removed. */
  readonly secrets: Readonly<Record<string, string>>;
  /** Names of those that are kept from before. */
  readonly kept: readonly string[];
};

/** A secret in `config` would be stored in the open and shown to every reader. */
export function checkOpenConfig(config: JsonObject, pointer = "/config"): Violation[] {
  return Object.entries(config).flatMap(([name, value]): Violation[] => {
    const at = `${pointer}/${name}`;
    if (SECRET_NAME.test(name))
      return [
        {
          pointer: at,
          code: "connection.secret_in_config",
          detail: `${JSON.stringify(name)} looks like a secret: put it under secrets, where it is encrypted`,
        },
      ];
    if (typeof value === "string" && /^[a-z][a-z0-9+.-]*:\/\/[^/@\s]*:[^/@\s]+@/i.test(value)) {
      return [
        {
          pointer: at,
          code: "connection.secret_in_config",
          detail: "the address holds a password: put the whole address under secrets, or the password apart",
        },
      ];
    }
    return isObject(value) ? checkOpenConfig(value, at) : [];
  });
}

/** Against the schema of its kind, secrets included. Those kept from before were checked when they came. */
export function checkAgainstKind({ kind, config, secrets, kept }: ConnectionInput): Violation[] {
  const schema = connectionSchemas[kind];
  if (schema === undefined) return [];
  const check = compiled.get(kind) ?? compileSchema(schema);
  compiled.set(kind, check);
  const given = Object.fromEntries(Object.entries(secrets).filter(([, value]) => value !== ""));
  const before = Object.fromEntries(kept.filter((name) => !(name in secrets)).map((name): [string, Json] => [name, "kept"]));
  return check({ ...before, ...config, ...given }).map(({ pointer, code, detail }) => {
    const member = pointer.split("/")[1] ?? "";
    const isSecret = member in given || (member in before && !(member in config));
    return {
      pointer: `${isSecret ? "/secrets" : "/config"}${pointer}`,
      code,
      detail: isSecret && code !== "additionalProperties" ? "does not fit" : detail,
    };
  });
}

const isObject = (value: Json): value is JsonObject => typeof value === "object" && value !== null && !Array.isArray(value);
