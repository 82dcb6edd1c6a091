/**
 * The real KubeMQ community server for tests and benches, where `KUBEMQ_SERVER` names its program: ports and a store of its own, and what can go wrong with a server.
 * The settings are those of the guide (docs/broker.md). The program listens on all addresses and reports its use to its vendor: run it where that does not matter.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort, openServerProcess, type ServerProcess } from "../server-process.ts";
import { KubemqClient } from "./client.ts";

/** As the guide has it, each start begins with an empty store. */
export type KubemqServer = ServerProcess & { readonly version: string };

export type KubemqServerOptions = { readonly program: string; readonly tls?: { readonly certPem: string; readonly keyPem: string } };

const SETTINGS = {
  HOST: "kubemq",
  STORE_STORE_PATH: "./store",
  STORE_CLEAN_STORE: "true",
  STORE_MAX_RETENTION: "10080",
  STORE_MAX_PURGE_INACTIVE: "0",
  BROKER_DISK_SYNC_SECONDS: "1",
  LOG_LEVEL: "error",
};

/** The program that tests may start, if the environment names one. */
export const kubemqProgram = (): string | undefined => {
  const program = process.env["KUBEMQ_SERVER"];
  return program === "" ? undefined : program;
};

export async function openKubemqServer({ program, tls }: KubemqServerOptions): Promise<KubemqServer> {
  const folder = await mkdtemp(join(tmpdir(), "onedata-kubemq-"));
  const [port, rest, api] = [await freePort(), await freePort(), await freePort()];
  let version = "";
  const server = await openServerProcess({
    path: program,
    args: ["server"],
    url: `${tls === undefined ? "kubemq" : "kubemqs"}://127.0.0.1:${port}`,
    folder,
    cwd: folder,
    env: {
      ...SETTINGS,
      GRPC_PORT: String(port),
      REST_PORT: String(rest),
      API_PORT: String(api),
      ...(tls === undefined ? {} : { SECURITY_CERT_DATA: tls.certPem, SECURITY_KEY_DATA: tls.keyPem }),
    },
    // Each start writes its settings there, and prefers them to those it is given.
    prepare: () => rm(join(folder, "config.yaml"), { force: true }),
    // Its `/ready` is green a second before its gRPC port opens.
    async answers() {
      const found = await pingKubemq(port, tls?.certPem);
      version = found ?? version;
      return found !== undefined;
    },
  });
  return Object.assign(server, { version });
}

/** The version of the server that answers on this port of the loopback; undefined when none does within a second. */
export async function pingKubemq(port: number, ca?: string): Promise<string | undefined> {
  const client = new KubemqClient({ host: "127.0.0.1", port, tls: ca === undefined ? undefined : { ca }, token: undefined }, "onedata-start");
  try {
    return (await client.pingServer(1_000)).version;
  } catch {
    return undefined;
  } finally {
    client.close();
  }
}
