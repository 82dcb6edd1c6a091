/** From the setting to what an engine needs of its broker. Duty: open both connections, close both. */
import { openBroker, redactBrokerUrl } from "@onedata/broker";
import { connectRelay } from "@onedata/store";
import type { EngineBroker } from "./broker-link.ts";

/** `undefined` for `none:`. Disposing of it closes the broker and the relay's connection. Throws `config.problems`. */
export async function openEngineBroker(url: string, database: string): Promise<(EngineBroker & AsyncDisposable) | undefined> {
  const broker = await openBroker(url, { clientName: `onedata-engine-${process.pid}` });
  if (broker === undefined) return undefined;
  const sql = connectRelay(database);
  return {
    broker,
    address: redactBrokerUrl(url),
    sql,
    async [Symbol.asyncDispose]() {
      await broker[Symbol.asyncDispose]();
      await sql.end({ timeout: 2 });
    },
  };
}
