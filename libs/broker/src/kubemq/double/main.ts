/**
 * `kubemq-double`: the double as a process of its own, to be killed and frozen by its pid.
 *   node --conditions=source --import tsx libs/broker/src/kubemq/double/main.ts [--port 50000] [--store <folder>]
 * Prints one JSON line {"url","pid"} when it answers. Reads faults from standard input, one JSON object a line (see faults.ts); {"clear":true} takes them back.
 * Ends with its standard input, so that it does not outlive whoever started it.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import type { Fault } from "./faults.ts";
import { openJournal } from "./journal.ts";
import { openKubemqDouble } from "./server.ts";

const { values } = parseArgs({ options: { port: { type: "string", default: "0" }, store: { type: "string" } } });
if (values.store !== undefined) mkdirSync(values.store, { recursive: true });
const double = await openKubemqDouble({
  port: Number(values.port),
  retentionMinutes: 0,
  purgeInactiveMinutes: 0,
  ...(values.store === undefined ? {} : { journal: openJournal(join(values.store, "journal")) }),
});
console.log(JSON.stringify({ url: double.url, pid: process.pid, what: "a double of KubeMQ, for tests only" }));
for await (const line of createInterface({ input: process.stdin })) {
  // Whoever writes here is a test; a line that is no fault ends the process, which is the loudest answer.
  const order = JSON.parse(line) as Fault | { readonly clear: true };
  if ("clear" in order) double.faults.clear();
  else double.faults.add(order);
}
await double[Symbol.asyncDispose]();
