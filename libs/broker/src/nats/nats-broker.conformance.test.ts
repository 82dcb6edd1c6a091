import { describe } from "vitest";
import { itKeepsTheBrokerContract } from "../broker-conformance.ts";
import { itSurvivesItsServer, type ServerHarness } from "../server-conformance.ts";
import { findNatsServer, openNatsServer } from "./nats-server.ts";

const program = process.env["NATS_SERVER"];
const found = findNatsServer(program);
if (found === undefined) {
  console.log(
    "SKIPPED: the broker contract on NATS; install nats-server (apt-get install nats-server) or set NATS_SERVER to its path, then npx vitest run libs/broker/src/nats",
  );
}

describe.skipIf(found === undefined)("NATS JetStream", () => {
  const openHarness = async (): Promise<ServerHarness> => {
    const server = await openNatsServer(program === undefined ? {} : { program });
    return { ...server, url: server.url, stop: server.kill };
  };
  itKeepsTheBrokerContract(openHarness);
  itSurvivesItsServer(openHarness);
});
