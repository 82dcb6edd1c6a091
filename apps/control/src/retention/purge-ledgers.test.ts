/** The purge reaches tenants' databases over their own credentials: what may not be reached from here is not even connected to. */
import { once } from "node:events";
import { createServer } from "node:net";
import { createSecretBox } from "@onedata/store/control";
import { expect, it } from "vitest";
import { openControlWorld, TEST_SECRET_KEY } from "../control-world.ts";
import { purgeLedgers } from "./purge-ledgers.ts";

const SSL_REQUEST_BYTES = 8;
const FIELDS = Buffer.from("SFATAL\0VFATAL\0C28P01\0Mno such user\0\0");
/** An ErrorResponse of the Postgres protocol. */
const REFUSAL = Buffer.concat([Buffer.from("E"), Buffer.from([0, 0, 0, FIELDS.length + 4]), FIELDS]);

it("opens no connection to an address that the operator's policy refuses", async () => {
  await using world = await openControlWorld();
  let opened = 0;
  const server = createServer((socket) => {
    opened += 1;
    socket.on("error", () => undefined).on("data", (asked) => void (asked.length === SSL_REQUEST_BYTES ? socket.write("N") : socket.end(REFUSAL)));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  try {
    const url = `postgres://user:s3cret@127.0.0.1:${address.port}/private`;
    await world.connections.putConnection({ connection: "warehouse", kind: "postgres", config: {}, secrets: { url } }, world.ana);
    const purge = async (allowedDatabaseAddresses: readonly string[] | undefined): Promise<string[]> => {
      const warned: string[] = [];
      await purgeLedgers(
        {
          sql: world.store.sql,
          box: createSecretBox(TEST_SECRET_KEY),
          allowedDatabaseAddresses,
          log: { warn: (_message, { error }) => void warned.push(String(error)) },
        },
        AbortSignal.timeout(20_000),
      );
      return warned;
    };
    expect(await purge([])).toEqual([expect.stringContaining("127.0.0.1")]);
    expect(opened).toBe(0);
    // The same connection where it is allowed: the server was there all the time.
    expect(await purge(["127.0.0.1"])).toHaveLength(1);
    expect(opened).toBeGreaterThan(0);
  } finally {
    server.close();
  }
});
