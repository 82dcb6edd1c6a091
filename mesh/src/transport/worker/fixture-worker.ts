/** Serves the conformance suite's fixture in a worker; with `data: "mortal"` some calls end or block the worker. */
import { TransformServiceDefinition } from "@onedata/contracts";
import { bySharedSecret } from "../../rpc/authenticate.ts";
import { createServiceHost, type ServiceHost } from "../../rpc/service-host.ts";
import { createFixtureHost, FIXTURE_SECRET } from "../transport-fixture.ts";
import { readWorkerStart, serveWorker } from "./server.ts";

const { port, data } = readWorkerStart();
if (data === "fail") throw new Error("this worker never comes up");
serveWorker(data === "mortal" ? createMortalHost() : createFixtureHost(), port);

function createMortalHost(): ServiceHost {
  return createServiceHost({ authenticate: bySharedSecret(FIXTURE_SECRET) }).addPartial(TransformServiceDefinition, {
    async apply({ runId }) {
      // In a worker this ends the thread alone.
      if (runId === "die") process.exit(1);
      const untilMs = performance.now() + 2_000;
      while (runId === "busy" && performance.now() < untilMs);
      const kept: number[][] = [];
      while (runId === "greedy") kept.push(new Array<number>(100_000).fill(1.5));
      return {};
    },
  });
}
