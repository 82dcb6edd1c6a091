/** `postgres.upsert`: a row per key, as the last record left it. */
import { checkPostgresSink } from "../postgres/check.ts";
import type { Pools } from "../postgres/pools.ts";
import { upsertConfigSchema } from "../postgres/sink-config.ts";
import type { Sink, SinkWriter } from "../sink.ts";

export function createPostgresUpsert({ pools, writer }: { readonly pools: Pools; readonly writer: SinkWriter }): Sink {
  return {
    description: {
      name: "postgres.upsert",
      title: "Insert or update rows by key",
      doc: "Inserts a row, or updates the one with the same key. Only the members of the record are written: other columns keep what they hold. With `newerWins`, an event that was captured before the one that last wrote the row changes nothing. Every event takes effect once: the ledger `onedata_applied` is written in the same transaction.",
      shape: "map",
      effects: "write",
      configSchema: upsertConfigSchema,
      needsConnection: true,
      examples: [
        {
          name: "one row per key",
          config: { connection: "warehouse", table: "orders", key: ["id"] },
          input: { id: 1, price: 2.5 },
          outputs: [{ id: 1, price: 2.5 }],
        },
        {
          name: "a record without its key",
          config: { connection: "warehouse", table: "orders", key: ["id"] },
          input: { price: 2.5 },
          fails: "sink.rejected",
        },
      ],
    },
    connectionKind: "postgres",
    handledBy: "load",
    writer,
    check: (input) => checkPostgresSink("postgres.upsert", pools, input),
  };
}
