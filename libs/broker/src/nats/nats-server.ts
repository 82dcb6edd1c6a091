/**
 * The real `nats-server` for tests and benches: a port and a store folder of its own, and what can go wrong with a server.
 * The program is taken from `NATS_SERVER`, PATH, or /usr/sbin; Debian's package is `nats-server`.
 */
import { spawnSync } from "node:child_process";
import { mkdtemp, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort, openServerProcess, type ServerProcess } from "../server-process.ts";

export type NatsServer = ServerProcess & { readonly version: string };

export type NatsServerOptions = {
  /** Where NATS_SERVER is looked up; the process's own environment if left out. */
  readonly program?: string;
  readonly tls?: { readonly certPem: string; readonly keyPem: string };
  /** More of its own configuration, as in its file. */
  readonly config?: string;
};

/** The path and version of the program, or undefined when this machine has none. */
export function findNatsServer(program?: string): { readonly path: string; readonly version: string } | undefined {
  for (const path of [program, "nats-server", "/usr/sbin/nats-server", "/usr/local/bin/nats-server"]) {
    if (path === undefined || path === "") continue;
    const run = spawnSync(path, ["--version"], { encoding: "utf8" });
    if (run.status === 0) return { path, version: run.stdout.trim().replace(/^nats-server: v/, "") };
  }
  return undefined;
}

/** Throws when the program is not there: ask `findNatsServer` first, and say what is skipped. */
export async function openNatsServer(options: NatsServerOptions = {}): Promise<NatsServer> {
  const found = findNatsServer(options.program);
  if (found === undefined) throw new Error("no nats-server: set NATS_SERVER to its path, or: apt-get install nats-server");
  const { path, version } = found;
  const port = await freePort();
  const folder = await mkdtemp(join(tmpdir(), "onedata-nats-"));
  const configFile = join(folder, "nats.conf");
  const lines = [`listen: 127.0.0.1:${port}`, `jetstream: {store_dir: ${JSON.stringify(join(folder, "store"))}}`, options.config ?? ""];
  if (options.tls !== undefined) {
    const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
    await writeFile(cert, options.tls.certPem);
    await writeFile(key, options.tls.keyPem, { mode: 0o600 });
    lines.push(`tls: {cert_file: ${JSON.stringify(cert)}, key_file: ${JSON.stringify(key)}}`);
  }
  await writeFile(configFile, lines.join("\n"));
  const args = ["-c", configFile];
  const server = await openServerProcess({ path, args, url: `nats://127.0.0.1:${port}`, folder, answers: () => answers(port) });
  return Object.assign(server, { version });
}

/** A NATS server greets with INFO. */
function answers(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, "127.0.0.1");
    const finish = (answer: boolean): void => {
      socket.destroy();
      done(answer);
    };
    socket.setTimeout(1_000, () => finish(false));
    socket.once("data", (data) => finish(data.toString().startsWith("INFO ")));
    socket.once("error", () => finish(false));
    socket.once("close", () => done(false));
  });
}
