/**
 * The one socket of a client. The driver makes a new one whenever a connection ends before it is ready, at once, without end and without telling anybody: against
 * a server that closes what it accepts, its first query never settles. Ours is made once; the second attempt fails, and so does what waits for it.
 */
import { createConnection, type Socket } from "node:net";

export interface OneSocket {
  /** The driver's `socket` option. Throws at the second call. */
  open(): Promise<Socket>;
  destroy(): void;
}

/** Tries the addresses in turn, all of them together at most for `timeoutMs`. */
export function createOneSocket(addresses: readonly string[], port: number, timeoutMs: number): OneSocket {
  let isUsed = false;
  let isOver = false;
  let current: Socket | undefined;
  const untilMs = performance.now() + timeoutMs;
  return {
    async open() {
      if (isUsed) throw lost("the server closed the connection before it was ready");
      isUsed = true;
      let failure: unknown = lost("it has no address");
      for (const host of addresses) {
        if (isOver) break;
        current = createConnection({ host, port }).on("error", () => undefined);
        try {
          await connected(current, Math.max(1, untilMs - performance.now()));
          return current;
        } catch (error) {
          current.destroy();
          failure = error;
        }
      }
      throw failure;
    },
    destroy() {
      isOver = true;
      current?.destroy();
    },
  };
}

function connected(socket: Socket, timeoutMs: number): Promise<void> {
  return new Promise((settle, fail) => {
    const end = (then: () => void): void => {
      clearTimeout(timer);
      socket.off("connect", onConnect).off("error", onError).off("close", onClose);
      then();
    };
    const onConnect = (): void => end(settle);
    const onError = (error: Error): void => end(() => fail(error));
    const onClose = (): void => end(() => fail(lost("the connection was given up")));
    const timer = setTimeout(() => onError(Object.assign(new Error("no connection in time"), { code: "CONNECT_TIMEOUT" })), timeoutMs);
    socket.on("connect", onConnect).on("error", onError).on("close", onClose);
  });
}

const lost = (message: string): Error => Object.assign(new Error(message), { code: "CONNECTION_LOST" });
