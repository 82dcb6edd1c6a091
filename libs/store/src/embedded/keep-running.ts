/**
 * Starts the embedded server again when it has gone: killed, or ended by itself because its disk was full. A server that cannot extend its WAL panics, and one
 * whose recovery finds no room either does not stay: without this, making room would not bring it back.
 *
 * Invariants: always at the port where everybody knows it; never after disposing has begun; a start that fails is tried again, for as long as it takes.
 */
import { connect as connectSocket } from "node:net";
import { type EmbeddedPostgres, type EmbeddedPostgresOptions, openEmbeddedPostgres } from "./server.ts";

const LOOK_MS = 500;
const RETRY_MS = 2_000;

/** `options` are those it was opened with. Dispose it before the server is stopped. */
export function keepEmbeddedRunning(
  server: Pick<EmbeddedPostgres, "port">,
  options: EmbeddedPostgresOptions,
  log: (message: string) => void,
): AsyncDisposable {
  let stopped = false;
  let wake: () => void = () => undefined;
  const rest = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });

  async function keep(): Promise<void> {
    let reported = false;
    while (!stopped) {
      if (await listens(server.port)) {
        if (reported) log("the embedded Postgres runs again");
        reported = false;
        await rest(LOOK_MS);
        continue;
      }
      if (!reported) log("the embedded Postgres is gone and is started again; what was committed is safe");
      try {
        await openEmbeddedPostgres({ ...options, port: server.port, attempts: 1, mustExist: true });
      } catch (error) {
        if (!reported)
          log(`the embedded Postgres could not be started, and is tried again: ${error instanceof Error ? error.message : String(error)}`);
        await rest(RETRY_MS);
      }
      reported = true;
    }
  }
  const keeping = keep();
  return {
    async [Symbol.asyncDispose]() {
      stopped = true;
      wake();
      await keeping;
    },
  };
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connectSocket(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
