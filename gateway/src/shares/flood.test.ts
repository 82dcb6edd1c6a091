/** One tenant floods the gateway over real sockets, in every way there is; another one notices nothing. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { Worker } from "node:worker_threads";
import { afterEach, describe, expect, it } from "vitest";
import type { Facade } from "../http/seam.ts";
import { makePipeline, openWorld, postEvent, type TestClient, type TestWorld, waitFor } from "../testing/world.ts";

const MIB = 1024 * 1024;
/** What B may wait on a machine that does other things too; alone it is some milliseconds. */
const PATIENCE_MS = 15_000;

/** Forty connections, each of which sends events of 100 KiB, and every twentieth time one that is too large, whatever is answered. */
const FLOOD = `
const { parentPort, workerData } = require("node:worker_threads");
const { Agent, request } = require("node:http");
const agent = new Agent({ keepAlive: true, maxSockets: 40 });
const large = JSON.stringify("x".repeat(100 * 1024)), tooLarge = JSON.stringify("x".repeat(1024 * 1024));
function send(i) {
  const again = () => setTimeout(send, 5, i + 1);
  const call = request(workerData.url, { method: "POST", agent, headers: { ...workerData.headers, "content-type": "application/json" } }, (answer) => {
    parentPort.postMessage(answer.statusCode);
    answer.resume().on("end", again).on("error", again);
  });
  call.on("error", again);
  call.end(i % 20 === 0 ? tooLarge : large);
}
for (let i = 0; i < 40; i++) send(i);
`;

describe("a tenant that floods", () => {
  let world: TestWorld;
  const sockets: Socket[] = [];
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    await world[Symbol.asyncDispose]();
  });

  type Party = { readonly client: TestClient; readonly pipeline: string };
  const open = async (shares: Parameters<typeof openWorld>[1]): Promise<{ a: Party; b: Party }> => {
    world = await openWorld({ kind: "own" }, shares);
    const [a, b] = [await world.signIn(), await world.signIn()];
    return {
      a: { client: a, pipeline: (await makePipeline(world, a)).name },
      b: { client: b, pipeline: (await makePipeline(world, b)).name },
    };
  };
  /** A connection that has sent `head`, and what came back so far. */
  const dial = async (head: string): Promise<{ socket: Socket; answer: () => string }> => {
    const { hostname, port } = new URL(world.first.url);
    const socket = connect(Number(port), hostname);
    sockets.push(socket);
    socket.on("error", () => undefined);
    await once(socket, "connect");
    let answer = "";
    socket.on("data", (bytes) => (answer += bytes.toString()));
    socket.write(head);
    return { socket, answer: () => answer };
  };
  const headOf = ({ client, pipeline }: Party, length: number): string =>
    `POST /v1/pipelines/${pipeline}/events HTTP/1.1\r\nhost: x\r\nauthorization: ${client.headers["authorization"]}\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n`;
  const shares = () => world.first.gateway.figures.shares;

  const expectUndisturbed = async ({ client, pipeline }: Party, times = 50): Promise<void> => {
    for (let i = 0; i < times; i++) {
      const startedAt = performance.now();
      const answer = await postEvent(world.first.url, client, pipeline, `{"i":${i}}`);
      expect([answer.status, performance.now() - startedAt < PATIENCE_MS]).toEqual([202, true]);
    }
  };

  it("with slow bodies holds its share and no more, and has it back when they end", async () => {
    const { a, b } = await open({ shares: { requests: 4 * MIB } });
    const slow = await Promise.all(Array.from({ length: 600 }, () => dial(`${headOf(a, 1_000)}{"slow": `)));
    await waitFor(
      () => slow.filter(({ answer }) => answer().startsWith("HTTP/1.1 429")).length,
      (refused) => refused >= 600 - 256,
    );
    const [refused] = slow.filter(({ answer }) => answer() !== "");
    expect(refused?.answer()).toMatch(
      /retry-after: 1\r\n[^]*"code":"tenant\.share_exceeded","detail":"the tenant has too much in flight at once: wait for answers/,
    );
    await expectUndisturbed(b);
    expect(shares().requests).toMatchObject({ tenants: 1 });
    expect(shares().requests.largest).toBeLessThanOrEqual(2 * MIB);
    for (const { socket } of slow) socket.destroy();
    await waitFor(shares, ({ requests }) => requests.used === 0);
    expect((await postEvent(world.first.url, a.client, a.pipeline, "1")).status).toBe(202);
  });

  it("with many large events is slowed down, while others' are written in turn with its own", async () => {
    const { a, b } = await open({ shares: { requests: 4 * MIB, events: 4 * MIB } });
    // In a thread of its own: what the flood costs its sender is not what is measured.
    const flood = new Worker(FLOOD, {
      eval: true,
      workerData: { url: `${world.first.url}/v1/pipelines/${a.pipeline}/events`, headers: a.client.headers },
    });
    const statuses = new Map<number, number>();
    flood.on("message", (status: number) => statuses.set(status, (statuses.get(status) ?? 0) + 1));
    try {
      await waitFor(
        () => [...statuses.keys()],
        (seen) => [202, 413, 429].every((status) => seen.includes(status)),
      );
      await expectUndisturbed(b, 30);
      // Answers are charged once they are there, whatever the limit.
      expect(shares().requests.largest).toBeLessThanOrEqual(2 * MIB + 64 * 1024);
    } finally {
      await flood.terminate();
    }
    await waitFor(shares, ({ requests, events }) => requests.used === 0 && events.used === 0);
  });

  it("that never reads its answers is refused once they fill its share", async () => {
    const answering: Facade = async (_request, response, caller) => {
      caller.demand(["events:read"]);
      const body = Buffer.alloc(4 * MIB, 0x20);
      response.writeHead(200, { "content-length": body.length });
      response.end(body);
      return true;
    };
    const { a, b } = await open({ facade: answering, shares: { calls: 64 * MIB } });
    const ask = ({ client }: Party): string => `GET /v1/anything HTTP/1.1\r\nhost: x\r\nauthorization: ${client.headers["authorization"]}\r\n\r\n`;
    for (let i = 0; i < 60; i++) {
      const { socket } = await dial("");
      socket.pause();
      socket.write(ask(a));
    }
    await waitFor(shares, ({ calls }) => calls.refused > 0);
    expect(shares().calls.largest).toBeLessThanOrEqual(32 * MIB + 4 * MIB);
    const refused = await fetch(`${world.first.url}/v1/anything`, { headers: a.client.headers });
    expect([refused.status, ((await refused.json()) as { code: string }).code]).toEqual([429, "tenant.share_exceeded"]);
    const own = await fetch(`${world.first.url}/v1/anything`, { headers: b.client.headers });
    expect([own.status, (await own.arrayBuffer()).byteLength]).toEqual([200, 4 * MIB]);
    await expectUndisturbed(b, 10);
  });

  it("with waiters gets its events captured and no more waits than its share", async () => {
    const { a, b } = await open({ shares: { waiters: 20 } });
    const waiting = Array.from({ length: 30 }, () => postEvent(world.first.url, a.client, a.pipeline, "1", { prefer: "wait=3" }));
    const first = await Promise.all(waiting.map(async (answer) => (await answer).status));
    expect(first.every((status) => status === 202)).toBe(true);
    expect(shares().waiters).toMatchObject({ used: 0, refused: 20 });
    await expectUndisturbed(b, 5);
  });

  it("with imports leaves others room for theirs", async () => {
    const { a, b } = await open({ shares: { imports: 4 } });
    const headers = (party: Party): string =>
      `POST /v1/pipelines/${party.pipeline}/imports HTTP/1.1\r\nhost: x\r\nauthorization: ${party.client.headers["authorization"]}\r\ncontent-type: application/x-ndjson\r\ncontent-length: 100\r\n\r\n{`;
    const imports = [await dial(headers(a)), await dial(headers(a)), await dial(headers(a))];
    await waitFor(
      () => imports.map(({ answer }) => answer().slice(0, 12)),
      (answers) => answers.filter((answer) => answer === "HTTP/1.1 429").length === 1,
    );
    const own = await fetch(`${world.first.url}/v1/pipelines/${b.pipeline}/imports`, {
      method: "POST",
      body: "1\n2\n",
      headers: { "content-type": "application/x-ndjson", ...b.client.headers },
    });
    expect([own.status, ((await own.json()) as { accepted: number }).accepted]).toEqual([202, 2]);
  });
});
