/** Values of the API as a person reads them. */
import { isJsonObject, type Json } from "@onedata/core";
import { stringifyJson } from "@onedata/formats";

/** Members of an answer, by the names of the contract; values are JSON, so times are text. */
export type Row<T> = { readonly [K in keyof T]?: Json };

export const number = (value: Json | undefined): string => (typeof value === "number" ? value.toLocaleString("en-US") : cell(value));

export function cell(value: Json | undefined): string {
  if (value === undefined || value === null) return "";
  if (typeof value === "string") return oneLine(value);
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value.join(", ");
  return oneLine(stringifyJson(value));
}

export const compact = (value: Json | undefined): string => (value === undefined ? "" : oneLine(stringifyJson(value)));

/** Local time to the second; the day only when it is not today. */
export function time(value: Json | undefined): string {
  if (typeof value !== "string" || value === "") return "";
  const at = new Date(value);
  if (Number.isNaN(at.getTime())) return value;
  const clock = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
  const day = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
  return at.toDateString() === new Date().toDateString() ? clock : `${day} ${clock}`;
}

export function bytes(count: number): string {
  if (count < 1000) return `${count} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = count;
  let unit = -1;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value.toFixed(value < 10 ? 1 : 0)} ${units[unit] ?? ""}`;
}

export const plural = (count: number, one: string, many = `${one}s`): string => `${count.toLocaleString("en-US")} ${count === 1 ? one : many}`;

export const isText = (value: Json | undefined): value is string => typeof value === "string" && value !== "";

export const objects = (value: Json | undefined) => (Array.isArray(value) ? value.filter(isJsonObject) : []);

const pad = (part: number): string => String(part).padStart(2, "0");
const oneLine = (text: string): string => text.replaceAll(/\s*[\r\n]+\s*/g, " ↵ ");
