/** What an import leaves behind that is given up. Over a real request, which must still get its answer. */
import { getEventListeners, once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { gzipSync } from "node:zlib";
import { expect, it } from "vitest";
import { openSource, peek, type Source } from "./import-source.ts";

const LINES = Buffer.from('{"a":1}\n'.repeat(50_000));

/** Sends `body`, announcing a byte more than there is: the request is never complete. Returns the answer's status line. */
async function refuse(give: (source: Source) => Promise<unknown>, { gzip }: { gzip: boolean }): Promise<{ answer: string; listeners: number }> {
  const gateway = new AbortController();
  const read = async (request: IncomingMessage): Promise<void> => {
    const { source } = await peek(openSource(request, gateway.signal));
    expect(getEventListeners(gateway.signal, "abort")).toHaveLength(1);
    await give(source);
  };
  const server = createServer((request, response) => {
    void read(request).then(
      () => response.writeHead(400, { connection: "close" }).end(),
      () => response.writeHead(500, { connection: "close" }).end(),
    );
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const body = gzip ? gzipSync(LINES, { level: 0 }) : LINES;
  const socket = connect(port, "127.0.0.1");
  socket.write(`POST / HTTP/1.1\r\nHost: x\r\n${gzip ? "Content-Encoding: gzip\r\n" : ""}Content-Length: ${body.length + 1}\r\n\r\n`);
  socket.write(body);
  const [first] = (await once(socket, "data")) as [Buffer];
  socket.destroy();
  server.close();
  return { answer: first.toString().split("\r\n")[0] ?? "", listeners: getEventListeners(gateway.signal, "abort").length };
}

const given: readonly [string, (source: Source) => Promise<unknown>][] = [
  ["before the first chunk", async (source) => source.return()],
  ["at the first chunk", readChunks(1)],
  ["at the second chunk", readChunks(2)],
];

function readChunks(count: number): (source: Source) => Promise<void> {
  return async (source) => {
    let seen = 0;
    for await (const chunk of source) if (chunk.length > 0 && ++seen === count) return;
  };
}

const cases = given.flatMap(([when, give]) => [false, true].map((gzip) => ({ when, give, gzip })));

it.each(cases)("given up $when leaves no listener behind and the connection open for the answer (gzip: $gzip)", async ({ give, gzip }) => {
  expect(await refuse(give, { gzip })).toEqual({ answer: "HTTP/1.1 400 Bad Request", listeners: 0 });
});
