/**
 * Makes connecting fail where the server closes before it is ready, and ends connections that have fallen silent.
 *
 * The driver (3.4.9) then tries again at once, without a pause, without end and without telling the query that waits: a proxy without a database behind it, or a
 * server that is starting, keeps a process busy and its statements unsettled. So the sockets are made here: after one that was closed before the server said
 * anything, the next attempt fails, and with it what waits for it, as it does where nobody listens. Whoever asks again later connects anew.
 *
 * A line that swallows everything (a firewall that forgot it, a host that lost its power) is noticed by TCP alone after some twelve minutes. Where every statement is
 * short, a connection without a word for `silentMs` is ended, idle or not: what waits for it fails as with any lost connection.
 */
import { createConnection, type Socket } from "node:net";
import { Duplex } from "node:stream";

/** What the driver has read from its URL and options. */
export type Target = { readonly host: readonly string[]; readonly port: readonly number[]; readonly path?: string | false };

/** The driver's `socket` option, for one pool. */
export function createSocketGuard(timeoutMs: number, silentMs?: number): (target: Target) => Promise<Duplex> {
  let closedUnheard = 0;
  return async ({ host, port, path }) => {
    if (closedUnheard > 0) {
      closedUnheard -= 1;
      return createFailing(Object.assign(new Error("the server closed the connection before it was ready"), { code: "CONNECTION_CLOSED" }));
    }
    const targets = typeof path === "string" ? [{ path }] : host.map((name, i) => ({ host: name, port: port[i] ?? port[0] ?? 5432 }));
    let failure: unknown;
    for (const target of targets) {
      // The driver reads the host from the socket, for TLS.
      const socket = Object.assign(createConnection(target), "host" in target ? { host: target.host } : {});
      // Between two owners an error would have no listener.
      socket.on("error", () => undefined);
      try {
        await connected(socket, timeoutMs);
      } catch (error) {
        socket.destroy();
        failure = error;
        continue;
      }
      if (silentMs !== undefined) {
        socket.setTimeout(silentMs, () => socket.destroy(Object.assign(new Error(`nothing heard for ${silentMs} ms`), { code: "ETIMEDOUT" })));
      }
      const heard = (): void => void socket.off("close", unheard);
      const unheard = (): void => void (closedUnheard += 1);
      socket.once("data", heard).once("close", unheard);
      return socket;
    }
    return createFailing(failure);
  };
}

/** A socket that fails when the driver has written its first words: of an exception it would keep the place in the pool for ever. */
function createFailing(failure: unknown): Duplex {
  const socket = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
  const fail = (): void => void socket.destroy(failure instanceof Error ? failure : new Error("no connection", { cause: failure }));
  setImmediate(() => setImmediate(fail));
  return socket;
}

function connected(socket: Socket, timeoutMs: number): Promise<void> {
  return new Promise((settle, fail) => {
    const end = (then: () => void): void => {
      clearTimeout(timer);
      socket.off("connect", onConnect).off("error", onError);
      then();
    };
    const onConnect = (): void => end(settle);
    const onError = (error: Error): void => end(() => fail(error));
    const timer = setTimeout(() => onError(Object.assign(new Error("no connection in time"), { code: "CONNECT_TIMEOUT" })), timeoutMs);
    socket.on("connect", onConnect).on("error", onError);
  });
}
