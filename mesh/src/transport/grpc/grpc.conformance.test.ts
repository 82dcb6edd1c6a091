import { transportConformance } from "../transport-conformance.ts";
import { createFixtureHost } from "../transport-fixture.ts";
import { createGrpcTransport } from "./client.ts";
import { openGrpcServer } from "./server.ts";

transportConformance("grpc", async () => {
  const server = await openGrpcServer(createFixtureHost(), { listen: "127.0.0.1:0", graceMs: 0 });
  const transport = createGrpcTransport(`dns:///127.0.0.1:${server.port}`);
  // Port 1 is served by nobody.
  const nowhere = createGrpcTransport("dns:///127.0.0.1:1");
  return {
    transport,
    nowhere,
    kill: async () => await server[Symbol.asyncDispose](),
    async [Symbol.asyncDispose]() {
      await transport[Symbol.asyncDispose]();
      await nowhere[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
});
