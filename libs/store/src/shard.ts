/** The shard of an ordering key: low four bits of the first byte of its SHA-256. `onedata.shard_of` in SQL is the same function; `shardVector` holds both. */
import { createHash } from "node:crypto";

export const SHARDS = 16;

export const shardOf = (orderingKey: string): number => (createHash("sha256").update(orderingKey, "utf8").digest()[0] ?? 0) & (SHARDS - 1);

/** Key and shard, computed by hand once; tests hold TypeScript and SQL against it. */
export const shardVector: readonly (readonly [key: string, shard: number])[] = [
  ["", 3],
  ["a", 10],
  ["customer-42", 0],
  ["1", 11],
  ["ø", 4],
  ["日本語", 7],
  ["😀", 0],
];
