/** The double as a child process, with the same handles as the real servers in tests: kill -9, start again, wipe, freeze by signal. */
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePort, openServerProcess, type ServerProcess } from "../../server-process.ts";
import { pingKubemq } from "../kubemq-server.ts";
import type { Fault } from "./faults.ts";

export interface KubemqDoubleProcess extends ServerProcess {
  addFault(fault: Fault): void;
  clearFaults(): void;
}

export async function openKubemqDoubleProcess(): Promise<KubemqDoubleProcess> {
  const folder = await mkdtemp(join(tmpdir(), "onedata-kubemq-double-"));
  const port = await freePort();
  const main = fileURLToPath(new URL("../../../dist/kubemq/double/main.js", import.meta.url));
  const server = await openServerProcess({
    path: process.execPath,
    args: [main, "--port", String(port), "--store", join(folder, "store")],
    url: `kubemq://127.0.0.1:${port}`,
    folder,
    answers: async () => (await pingKubemq(port)) !== undefined,
  });
  return Object.assign(server, {
    addFault: (fault: Fault) => server.tell(JSON.stringify(fault)),
    clearFaults: () => server.tell(JSON.stringify({ clear: true })),
  });
}
