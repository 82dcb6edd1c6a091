/** Reads of a config that its schema has already checked: each returns the default where the member is absent, and never throws. */
import { isJsonObject, type Json, type JsonObject } from "@onedata/core";

export const text = (config: JsonObject, name: string): string | undefined => {
  const value = config[name];
  return typeof value === "string" ? value : undefined;
};

export const texts = (value: Json | undefined): string[] => (Array.isArray(value) ? value.filter((item) => typeof item === "string") : []);

export const choice = <T extends string>(config: JsonObject, name: string, choices: readonly [T, ...T[]]): T =>
  choices.find((item) => item === config[name]) ?? choices[0];

/** Members of an object whose values are text. */
export const textMembers = (value: Json | undefined): [string, string][] =>
  isJsonObject(value) ? Object.entries(value).flatMap(([name, item]): [string, string][] => (typeof item === "string" ? [[name, item]] : [])) : [];
