import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, it } from "vitest";
import { ledgerDdl } from "./ledger.ts";
import { createLedgerPurge } from "./ledger-purge.ts";
import { openSinkDatabase } from "./testing.ts";

let database: Awaited<ReturnType<typeof openSinkDatabase>>;
beforeAll(async () => {
  database = await openSinkDatabase(undefined);
});
afterAll(() => database[Symbol.asyncDispose]());

it("forgets what the platform has dropped, of this installation only, and keeps what it still needs", async () => {
  const [own, other] = [randomUUID(), randomUUID()];
  await using purge = createLedgerPurge();
  const task = { tenant: "1", installation: own, below: 5_000n, keep: [7n, 9n], signal: new AbortController().signal };
  expect(await purge.purge(database.connection, task)).toBe(0);
  await database.sql.unsafe(ledgerDdl("public"));
  await database.sql`insert into onedata_applied (installation, batch_id, generation, sink, done) select ${own}, b, 0, 'orders/table', '{[0,1)}' from generate_series(1, 6000) b`;
  await database.sql`insert into onedata_applied (installation, batch_id, generation, sink, done) values (${other}, 1, 0, 'orders/table', '{[0,1)}')`;
  expect(await purge.purge(database.connection, task)).toBe(4_997);
  expect(await database.sql`select count(*)::int as n, min(batch_id)::int as first from onedata_applied where installation = ${own}`).toEqual([
    { n: 1_003, first: 7 },
  ]);
  expect(await database.sql`select 1 from onedata_applied where installation = ${other}`).toHaveLength(1);
  await expect(purge.purge({ name: "away", kind: "postgres", config: { url: "postgres://u:s3cret@127.0.0.1:1/none" } }, task)).rejects.toMatchObject({
    code: "sink.unavailable",
    message: expect.not.stringContaining("s3cret"),
  });
});
