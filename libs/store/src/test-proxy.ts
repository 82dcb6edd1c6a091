/** A TCP proxy before the test Postgres that loses requests or answers on command. For tests. */
import { connect, createServer, type Socket } from "node:net";

export interface Proxy extends AsyncDisposable {
  readonly url: string;
  /** The next bytes of a server are dropped and that connection is cut: a commit whose answer was lost. */
  swallowNextAnswer(): void;
  /** The next bytes of a client are dropped and that connection is cut: the server never sees the statement. */
  cutNextRequest(): void;
}

export async function openProxy(targetUrl: string): Promise<Proxy> {
  const target = new URL(targetUrl);
  let mode: "pass" | "swallow" | "cut" = "pass";
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname);
    const cut = (): void => {
      client.destroy();
      // Half-close first: the server shall finish what it has received.
      upstream.end();
    };
    let answering = false;
    client.on("data", (bytes) => {
      if (mode === "cut") {
        mode = "pass";
        cut();
      } else {
        answering = true;
        upstream.write(bytes);
      }
    });
    upstream.on("data", (bytes) => {
      if (mode === "swallow" && answering) {
        mode = "pass";
        cut();
      } else client.write(bytes);
    });
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket);
      socket.on("error", () => other.destroy());
      socket.on("close", () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const address = server.address();
  const url = new URL(targetUrl);
  url.port = String(typeof address === "object" && address !== null ? address.port : 0);
  return {
    url: url.href,
    swallowNextAnswer: () => {
      mode = "swallow";
    },
    cutNextRequest: () => {
      mode = "cut";
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((closed) => server.close(() => closed()));
    },
  };
}
