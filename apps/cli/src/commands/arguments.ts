/** Options that several commands take, read strictly: a wrong value is wrong usage, with what is right. */
import { readFileSync } from "node:fs";
import type { Readable } from "node:stream";
import { isJsonObject, type Json } from "@onedata/core";
import { InvalidArgumentError } from "commander";
import { parse } from "yaml";
import type { Terminal } from "../terminal.ts";

export function toCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1) throw new InvalidArgumentError("A whole number from 1 is needed.");
  return count;
}

/** A time, or an age: `15m`, `2h`, `3d`. */
export function toTime(text: string): string {
  const age = /^(\d+)([smhd])$/.exec(text);
  const unitMs = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }[age?.[2] ?? ""];
  const at = unitMs === undefined ? new Date(text) : new Date(Date.now() - Number(age?.[1]) * unitMs);
  if (Number.isNaN(at.getTime())) throw new InvalidArgumentError("A time like 2026-01-31T12:00Z, or an age like 15m, 2h, 3d is needed.");
  return at.toISOString();
}

/** `name=value`, repeated. */
export function toPairs(text: string, previous: Readonly<Record<string, string>> = {}): Record<string, string> {
  const at = text.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("name=value is needed.");
  return { ...previous, [text.slice(0, at)]: text.slice(at + 1) };
}

export type SpecFile = {
  readonly pipeline: string;
  readonly text: string;
  /** `null` where the text cannot be read: the server says why. */
  readonly spec: Json;
  readonly mediaType: string;
};

/** The server checks the spec; its name is the address. A spec without one goes by its file's name. */
export function readSpecFile(path: string): SpecFile {
  const text = readFileSync(path === "-" ? 0 : path, "utf8");
  const spec = read(text);
  const named = isJsonObject(spec) ? spec["name"] : undefined;
  return {
    pipeline: typeof named === "string" ? named : path.replace(/^.*\//, "").replace(/\..*$/, ""),
    text,
    spec,
    mediaType: path.endsWith(".json") ? "application/json" : "application/yaml",
  };
}

function read(text: string): Json {
  try {
    const value: Json = parse(text, { logLevel: "silent" });
    return value;
  } catch {
    return null;
  }
}

export async function readAll(stream: Readable): Promise<Buffer<ArrayBuffer>> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

/** A file's bytes, or stdin's for `-`. */
export const readInput = (path: string, { stdin }: Terminal): Promise<Buffer<ArrayBuffer>> =>
  path === "-" ? readAll(stdin) : Promise.resolve(readFileSync(path));
