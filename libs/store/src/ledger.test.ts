import { randomUUID } from "node:crypto";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openStore, type Store } from "./connection.ts";
import { claimLedger, ensureLedger, type LedgerClaim, readLedger, toMultirange } from "./ledger.ts";
import { openTestDatabase, type TestDatabase } from "./testing.ts";

let database: TestDatabase;
let store: Store;
beforeAll(async () => {
  database = await openTestDatabase();
  store = openStore(database.url);
  await Promise.all([ensureLedger(store.sql), ensureLedger(store.sql)].map((made) => made.catch(() => undefined)));
});
afterAll(async () => {
  await store[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

const claim = (ordinals: readonly number[], batchId = 1n): LedgerClaim => ({ batchId, generation: 0, sink: 'orders "1"', ordinals });

describe("the ledger", () => {
  it("writes ordinals as ranges", () => {
    expect(toMultirange([0, 1, 2, 5, 7, 8])).toBe("{[0,3),[5,6),[7,9)}");
    expect(toMultirange([3, 1, 2, 2])).toBe("{[1,4)}");
    expect(toMultirange([])).toBe("{}");
  });

  it("lets each ordinal in once, whatever the attempts", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uniqueArray(fc.integer({ min: 0, max: 12 }), { maxLength: 8 }), { maxLength: 6 }), async (attempts) => {
        const installation = randomUUID();
        const done = new Set<number>();
        for (const ordinals of attempts) {
          const overlapping = await claimLedger(store.sql, installation, [claim(ordinals)]);
          expect(overlapping.length > 0).toBe(ordinals.some((ordinal) => done.has(ordinal)));
          const [missing] = await readLedger(store.sql, installation, [claim(ordinals)]);
          expect(missing?.ordinals).toEqual(overlapping.length > 0 ? ordinals.filter((ordinal) => !done.has(ordinal)) : []);
          if (overlapping.length === 0) for (const ordinal of ordinals) done.add(ordinal);
        }
      }),
      { numRuns: 50 },
    );
  });

  it("makes a second writer wait for the first and then see what it did", async () => {
    const installation = randomUUID();
    let overlapping: Promise<readonly LedgerClaim[]> = Promise.resolve([]);
    await store.sql.begin(async (first) => {
      expect(await claimLedger(first, installation, [claim([0, 1], 2n), claim([0], 1n)])).toEqual([]);
      overlapping = claimLedger(store.sql, installation, [claim([0], 1n), claim([2], 2n)]);
      await expect.poll(async () => (await store.sql`select count(*)::int as n from pg_locks where not granted`)[0]?.["n"]).toBeGreaterThan(0);
    });
    expect((await overlapping).map(({ batchId }) => batchId)).toEqual([1n]);
  });
});
