import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { bodyOf, drain, itKeepsTheBrokerContract, newChannel, open } from "../broker-conformance.ts";
import { itSurvivesItsServer, type ServerHarness } from "../server-conformance.ts";
import { testCertificate } from "../test-certificate.ts";
import { openKubemqDoubleProcess } from "./double/double-process.ts";
import { openKubemqDouble } from "./double/server.ts";
import { kubemqProgram, openKubemqServer } from "./kubemq-server.ts";
import { realKubemq } from "./real-server.ts";

describe("kubemq-js on the double of KubeMQ", () => {
  const openHarness = async (): Promise<ServerHarness> => {
    const double = await openKubemqDouble();
    return { ...double, url: double.url, wipe: () => double.restart({ keepData: false }) };
  };
  itKeepsTheBrokerContract(openHarness);
  itSurvivesItsServer(openHarness);
});

describe("kubemq-js on the double in a process of its own", () => {
  itSurvivesItsServer(async () => {
    const double = await openKubemqDoubleProcess();
    return { ...double, url: double.url, stop: double.kill };
  });
});

const real = realKubemq("the broker contract");
describe.skipIf(real === undefined)("kubemq-js on a real KubeMQ", () => {
  itKeepsTheBrokerContract(async () => ({ url: `kubemq://${real}`, [Symbol.asyncDispose]: () => Promise.resolve() }));
});

const program = kubemqProgram();
if (program === undefined) console.log("SKIPPED: a real KubeMQ that is killed, frozen and wiped; KUBEMQ_SERVER=<path of its program> runs it");
describe.skipIf(program === undefined)("kubemq-js on a real KubeMQ of its own", () => {
  itSurvivesItsServer(async () => {
    const server = await openKubemqServer({ program: program ?? "" });
    return { ...server, url: server.url, stop: server.kill, startsEmpty: true };
  });

  it("speaks TLS with a server whose certificate its own authority signed, and with no other", async () => {
    await using server = await openKubemqServer({ program: program ?? "", tls: testCertificate });
    const folder = await mkdtemp(join(tmpdir(), "onedata-kubemq-ca-"));
    try {
      const ca = join(folder, "ca.pem");
      await writeFile(ca, testCertificate.certPem);
      await using trusting = await open(`${server.url}?ca=${ca}`);
      const channel = newChannel();
      expect(await trusting.publish(channel, [bodyOf(1)])).toEqual([{ ok: true }]);
      expect(await drain(trusting, channel, 1)).toEqual(["message 1"]);
      expect(await trusting.health()).toMatchObject({ ok: true });
      await using distrusting = await open(server.url);
      expect(await distrusting.health()).toMatchObject({ ok: false });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
