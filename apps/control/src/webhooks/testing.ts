/** For tests: a receiver of webhooks on a real socket. Production code never imports this. */
import { createServer, type ServerResponse } from "node:http";
import { Webhook } from "standardwebhooks";

export type Received = {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** With the public library of the specification; throws what it throws. */
  verify(secret: string): unknown;
};

export interface Receiver extends AsyncDisposable {
  readonly url: string;
  readonly host: string;
  readonly received: readonly Received[];
  /** What follows is answered so; by default 204. */
  answer: (response: ServerResponse, received: Received) => void;
}

export async function openReceiver(): Promise<Receiver> {
  const received: Received[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, String(value)]));
      const body = Buffer.concat(chunks).toString("utf8");
      const one: Received = { headers, body, verify: (secret) => new Webhook(secret).verify(body, headers) };
      received.push(one);
      receiver.answer(response, one);
    });
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const address = server.address();
  const host = `127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`;
  const receiver: Receiver = {
    url: `http://${host}/hook`,
    host,
    received,
    answer: (response) => void response.writeHead(204).end(),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
  return receiver;
}
