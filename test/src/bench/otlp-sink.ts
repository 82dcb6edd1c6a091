/** Takes OTLP over HTTP and throws it away: what a receiver costs is not measured, that there is one is. Prints its port; GET answers what came. */
import { createServer } from "node:http";

let requests = 0;
let bytes = 0;
const server = createServer((request, response) => {
  if (request.method === "GET") {
    response.end(JSON.stringify({ requests, bytes }));
    return;
  }
  requests += 1;
  request.on("data", (chunk: Buffer) => (bytes += chunk.length));
  request.on("end", () => response.writeHead(200, { "content-type": "application/x-protobuf", "content-length": 0 }).end());
});
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  process.stdout.write(`${JSON.stringify({ port: typeof address === "object" && address !== null ? address.port : 0 })}\n`);
});
