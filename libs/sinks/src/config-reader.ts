/**
 * Reads a config object into typed values and collects everything wrong with it, each with its JSON Pointer.
 * The JSON Schema of a sink says the same for the catalogue; this is what the code itself relies on.
 */
import { isJsonObject, type Json, type JsonObject, OneDataError, toPointer, type Violation } from "@onedata/core";

export type ConfigReader = {
  text(member: string): string | undefined;
  requiredText(member: string): string;
  choice<const T extends string>(member: string, choices: readonly T[], fallback: T): T;
  flag(member: string, fallback: boolean): boolean;
  integer(member: string, bounds: { readonly min: number; readonly max: number; readonly fallback: number }): number;
  texts(member: string): readonly string[] | undefined;
  textMap(member: string): ReadonlyMap<string, string> | undefined;
  problem(member: string, detail: string): void;
  /** Call last: unread members are problems. Throws `config.invalid` with every violation. */
  done(): void;
};

export function createConfigReader(what: string, config: JsonObject): ConfigReader {
  const violations: Violation[] = [];
  const read = new Set<string>();
  const problem = (member: string, detail: string): void => {
    violations.push({ pointer: toPointer([member]), code: "config.invalid", detail });
  };
  const value = (member: string): Json | undefined => {
    read.add(member);
    return Object.hasOwn(config, member) ? config[member] : undefined;
  };
  const text = (member: string): string | undefined => {
    const found = value(member);
    if (found === undefined || typeof found === "string") return found === "" ? undefined : found;
    problem(member, `${member} must be text`);
    return undefined;
  };
  return {
    text,
    requiredText(member) {
      const found = text(member);
      if (found === undefined && !violations.some((v) => v.pointer === toPointer([member]))) problem(member, `${member} is required`);
      return found ?? "";
    },
    choice(member, choices, fallback) {
      const found = text(member);
      if (found === undefined) return fallback;
      const chosen = choices.find((choice) => choice === found);
      if (chosen === undefined) problem(member, `${member} is ${JSON.stringify(found)}; known: ${choices.join(", ")}`);
      return chosen ?? fallback;
    },
    flag(member, fallback) {
      const found = value(member);
      if (found === undefined) return fallback;
      if (typeof found !== "boolean") problem(member, `${member} must be true or false`);
      return found === true;
    },
    integer(member, { min, max, fallback }) {
      const found = value(member);
      if (found === undefined) return fallback;
      if (typeof found === "number" && Number.isInteger(found) && found >= min && found <= max) return found;
      problem(member, `${member} must be a whole number from ${min} to ${max}`);
      return fallback;
    },
    texts(member) {
      const found = value(member);
      if (found === undefined) return undefined;
      if (Array.isArray(found)) {
        const items = found.filter((item) => typeof item === "string" && item !== "");
        if (items.length === found.length && items.length > 0) return items.filter((item) => typeof item === "string");
      }
      problem(member, `${member} must be a list of names, at least one`);
      return undefined;
    },
    textMap(member) {
      const found = value(member);
      if (found === undefined) return undefined;
      const map = new Map<string, string>();
      for (const [name, item] of isJsonObject(found) ? Object.entries(found) : []) if (typeof item === "string") map.set(name, item);
      if (isJsonObject(found) && map.size === Object.keys(found).length) return map;
      problem(member, `${member} must be an object of texts`);
      return undefined;
    },
    problem,
    done() {
      for (const member of Object.keys(config)) {
        if (!read.has(member)) problem(member, `unknown member ${JSON.stringify(member)}; known: ${[...read].sort().join(", ")}`);
      }
      if (violations.length > 0) {
        throw new OneDataError("config.invalid", `${what}: ${violations.map((v) => v.detail).join("; ")}`, { violations });
      }
    },
  };
}

/** The violations of a config, none if `read` accepts it. */
export function configViolations(read: () => unknown): readonly Violation[] {
  try {
    read();
    return [];
  } catch (error) {
    const known = OneDataError.from(error);
    if (known.code !== "config.invalid") throw known;
    return known.violations;
  }
}
