/** `postgres.insert`: a row per record, each exactly once. */

import { checkPostgresSink } from "../postgres/check.ts";
import type { Pools } from "../postgres/pools.ts";
import { insertConfigSchema } from "../postgres/sink-config.ts";
import type { Sink, SinkWriter } from "../sink.ts";

export function createPostgresInsert({ pools, writer }: { readonly pools: Pools; readonly writer: SinkWriter }): Sink {
  return {
    description: {
      name: "postgres.insert",
      title: "Insert rows",
      doc: "Inserts a row per record. Members go to the columns of their names, letter case included; numbers keep every digit; objects and arrays go to json or jsonb columns. A missing member means the column's default. Every event takes effect once: the ledger `onedata_applied` is written in the same transaction.",
      shape: "map",
      effects: "write",
      configSchema: insertConfigSchema,
      needsConnection: true,
      examples: [
        {
          name: "members become columns",
          config: { connection: "warehouse", table: "orders" },
          input: { id: 1, price: 2.5 },
          outputs: [{ id: 1, price: 2.5 }],
        },
        {
          name: "a mapping picks and renames",
          config: { connection: "warehouse", table: "orders", columns: { id: "order", price: "/amount/net" } },
          input: { order: 1, amount: { net: 2.5 } },
          outputs: [{ id: 1, price: 2.5 }],
        },
        {
          name: "a member without a column",
          config: { connection: "warehouse", table: "orders" },
          input: { id: 1, colour: "red" },
          fails: "sink.rejected",
        },
      ],
    },
    connectionKind: "postgres",
    handledBy: "load",
    writer,
    check: (input) => checkPostgresSink("postgres.insert", pools, input),
  };
}
