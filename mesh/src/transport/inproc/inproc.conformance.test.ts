import { transportConformance } from "../transport-conformance.ts";
import { createFixtureHost } from "../transport-fixture.ts";
import { createInprocDirectory, createInprocTransport } from "./inproc.ts";

transportConformance("inproc", async () => {
  const directory = createInprocDirectory();
  const serving = directory.serve("fixture", createFixtureHost());
  return {
    transport: createInprocTransport("fixture", directory),
    nowhere: createInprocTransport("nobody", directory),
    kill: async () => await serving[Symbol.asyncDispose](),
    [Symbol.asyncDispose]: async () => await serving[Symbol.asyncDispose](),
  };
});
