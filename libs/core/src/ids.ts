/**
 * Branded ids and their public text form. An event is (batch id, ordinal): `evt_` + Crockford base32 of the batch id + `_` + ordinal.
 * Other public ids are prefix + base32 of a 64-bit id.
 */
import { OneDataError } from "./errors/onedata-error.ts";

declare const brand: unique symbol;
type Branded<T, B extends string> = T & { readonly [brand]: B };

export type TenantId = Branded<bigint, "tenant">;
export type PipelineId = Branded<bigint, "pipeline">;
export type LaneId = Branded<bigint, "lane">;
export type BatchId = Branded<bigint, "batch">;
export type EventId = { readonly batchId: BatchId; readonly n: number };

export const toTenantId = (id: bigint): TenantId => id as TenantId;
export const toPipelineId = (id: bigint): PipelineId => id as PipelineId;
export const toLaneId = (id: bigint): LaneId => id as LaneId;
export const toBatchId = (id: bigint): BatchId => id as BatchId;

const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";
const MAX_ID = 2n ** 63n - 1n;

/** Crockford base32, lower case, no padding. */
export function toBase32(id: bigint): string {
  let text = "";
  for (let rest = id; rest > 0n; rest >>= 5n) text = ALPHABET.charAt(Number(rest & 31n)) + text;
  return text === "" ? "0" : text;
}

/** `undefined` for anything that is not the canonical form of a positive 63-bit id. */
export function fromBase32(text: string): bigint | undefined {
  if (text.length === 0 || text.length > 13) return undefined;
  let id = 0n;
  for (const character of text) {
    const digit = ALPHABET.indexOf(character);
    if (digit < 0) return undefined;
    id = (id << 5n) | BigInt(digit);
  }
  return id <= MAX_ID ? id : undefined;
}

export type IdPrefix = "imp" | "job" | "dl" | "sub" | "msg";

export const formatEventId = (id: EventId): string => `evt_${toBase32(id.batchId)}_${id.n}`;

/** Throws `event.not_found` for text that cannot be an event's id: to a caller, a malformed id and an unknown one are the same. */
export function parseEventId(text: string): EventId {
  const match = /^evt_([0-9a-z]{1,13})_(0|[1-9]\d{0,5})$/.exec(text);
  const batchId = match?.[1] === undefined ? undefined : fromBase32(match[1]);
  if (batchId === undefined || match?.[2] === undefined) {
    throw new OneDataError("event.not_found", `no event ${JSON.stringify(text.slice(0, 60))}`);
  }
  return { batchId: toBatchId(batchId), n: Number(match[2]) };
}

export const formatId = (prefix: IdPrefix, id: bigint): string => `${prefix}_${toBase32(id)}`;

export function parseId(prefix: IdPrefix, text: string): bigint | undefined {
  return text.startsWith(`${prefix}_`) ? fromBase32(text.slice(prefix.length + 1)) : undefined;
}
