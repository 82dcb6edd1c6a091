import { transportConformance } from "../transport-conformance.ts";
import { createWorkerTransport } from "./client.ts";

const module = new URL("./fixture-worker.ts", import.meta.url);

transportConformance("worker", async () => {
  const transport = createWorkerTransport({ name: "fixture", module });
  const nowhere = createWorkerTransport({ name: "nobody", module, data: "fail" });
  return {
    transport,
    nowhere,
    kill: async () => await transport[Symbol.asyncDispose](),
    async [Symbol.asyncDispose]() {
      await transport[Symbol.asyncDispose]();
      await nowhere[Symbol.asyncDispose]();
    },
  };
});
