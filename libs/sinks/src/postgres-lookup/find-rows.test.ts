/** As a server before Postgres 16 does it, which cannot tell by itself what is no value of a type. */
import { openTestDatabase } from "@onedata/store/testing";
import { expect, it } from "vitest";
import { createClients } from "../postgres/clients.ts";
import { readPostgresConnection, toDriverOptions } from "../postgres/connection-config.ts";
import { findRows } from "./find-rows.ts";

it("finds among a thousand keys those that are no values, and the rows of all others", async () => {
  await using database = await openTestDatabase();
  const session = { applicationName: "test", isReadOnly: false, connectSeconds: 5, statementMs: 20_000, lockMs: 20_000, idleInTransactionMs: 20_000 };
  const clients = createClients(toDriverOptions(readPostgresConnection({ url: database.url }), session), 1);
  const keys = Array.from({ length: 1_500 }, (_, i) => (i % 100 === 7 ? `no number ${i}` : String(i)));
  try {
    const find = (type: string) =>
      clients.use(new AbortController().signal, async (client) => {
        await client.query("create table if not exists numbers as select i as code, 'n' || i as name from generate_series(0, 1499) i");
        return findRows(client, { schema: "public", table: "numbers", column: "code", type, take: ["name"], keys, checksInput: false });
      });
    const found = await find("integer");
    expect(found.size).toBe(1_485);
    expect(found.get("1499")).toMatchObject({ kind: "row", row: { name: "n1499" } });
    await expect(find("no_such_type")).rejects.toMatchObject({ code: "42704" });
  } finally {
    clients.close();
  }
});
