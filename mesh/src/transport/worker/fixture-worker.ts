/** Serves the conformance suite's fixture in a worker. */
import { createFixtureHost } from "../transport-fixture.ts";
import { readWorkerStart, serveWorker } from "./server.ts";

const { port, data } = readWorkerStart();
if (data === "fail") throw new Error("this worker never comes up");
serveWorker(createFixtureHost(), port);
