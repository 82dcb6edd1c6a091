/** The ruler: what bare node:http does with the same request and an answer like ours, and nothing behind it. Prints its port. */
import { createServer } from "node:http";

let count = 0;
const server = createServer((request, response) => {
  request.on("data", () => undefined);
  request.on("end", () => {
    const id = `evt_${1e12 + (count++ % 1e6)}_0`;
    const body = `{"id":"${id}"}`;
    response.writeHead(202, { "content-type": "application/json", "content-length": body.length, location: `/v1/events/${id}` });
    response.end(body);
  });
});
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  process.stdout.write(`${JSON.stringify({ port: typeof address === "object" && address !== null ? address.port : 0 })}\n`);
});
