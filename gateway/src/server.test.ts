import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makePipeline, openWorld, postEvent, type TestClient, type TestWorld, waitFor } from "./testing/world.ts";

describe("the server", () => {
  let world: TestWorld;
  let client: TestClient;
  beforeAll(async () => {
    world = await openWorld();
    client = await world.signIn();
  });
  afterAll(() => world[Symbol.asyncDispose]());

  const open = async (url: string): Promise<{ socket: Socket; text: () => string }> => {
    const socket = connect(Number(new URL(url).port), "127.0.0.1");
    let text = "";
    socket.on("data", (data) => (text += data.toString("latin1"))).on("error", () => undefined);
    await once(socket, "connect");
    return { socket, text: () => text };
  };
  const count = async (pipelineId: bigint): Promise<number> =>
    Number(
      (await world.store.sql<{ n: bigint }[]>`select coalesce(sum(n), 0)::bigint as n from onedata.batches where pipeline_id = ${pipelineId}`)[0]?.n,
    );
  const head = (name: string, length: number): string =>
    `POST /v1/pipelines/${name}/events HTTP/1.1\r\nhost: x\r\nauthorization: ${client.headers["authorization"]}\r\ncontent-length: ${length}\r\n\r\n`;

  it("is healthy and ready, and says so when a check fails", async () => {
    expect((await fetch(`${world.first.url}/healthz`)).status).toBe(200);
    expect(await (await fetch(`${world.first.url}/readyz`)).json()).toEqual({ status: "ready", checks: { database: "ok" } });
    const lonely = await world.openGateway({ checks: { control: async () => Promise.reject(new Error("down")) } });
    const response = await fetch(`${lonely.url}/readyz`);
    expect([response.status, await response.json()]).toEqual([503, { status: "not ready", checks: { database: "ok", control: "unreachable" } }]);
  });

  it("hands other routes to the facade, with a caller who may be nobody, and answers 404 for the rest", async () => {
    const routed = await world.openGateway({
      facade: async (request, response, caller) => {
        if (request.url === "/open") response.end(caller.principal?.name ?? "nobody");
        else if (request.url === "/closed") response.end(caller.demand(["events:read"]).name);
        else if (request.url === "/broken") throw new Error("secret detail");
        else return false;
        return true;
      },
    });
    const get = (path: string, headers: Record<string, string> = {}): Promise<Response> => fetch(routed.url + path, { headers });
    expect(await (await get("/open")).text()).toBe("nobody");
    expect(await (await get("/open", client.headers)).text()).toBe("test");
    expect((await get("/closed")).status).toBe(401);
    expect(await (await get("/closed", client.headers)).text()).toBe("test");
    expect([(await get("/nothing")).status, ((await (await get("/nothing")).json()) as { code: string }).code]).toEqual([404, "route.not_found"]);
    const broken = await get("/broken");
    const problem = (await broken.json()) as { code: string; instance: string };
    expect([broken.status, problem.code]).toEqual([500, "internal"]);
    expect(JSON.stringify(problem)).not.toContain("secret");
    expect(routed.logged.some((line) => line.includes(problem.instance) && line.includes("secret detail"))).toBe(true);
  });

  it("answers what is no HTTP, and headers that are too large, with problems", async () => {
    const garbage = await open(world.first.url);
    garbage.socket.write("hello\r\n\r\n");
    await waitFor(garbage.text, (text) => text.includes("request.malformed"));
    const large = await open(world.first.url);
    large.socket.write(`GET / HTTP/1.1\r\nx: ${"y".repeat(20_000)}\r\n\r\n`);
    await waitFor(large.text, (text) => text.startsWith("HTTP/1.1 431"));
  });

  it("captures nothing of a client that goes away in the middle of its body, and serves the others", async () => {
    const { name, pipelineId } = await makePipeline(world, client);
    const leaver = await open(world.first.url);
    leaver.socket.write(`${head(name, 100)}{"half":`);
    await waitFor(
      () => postEvent(world.first.url, client, name, "1").then((r) => r.status),
      (status) => status === 202,
    );
    leaver.socket.destroy();
    expect((await postEvent(world.first.url, client, name, "2")).status).toBe(202);
    expect(await count(pipelineId)).toBe(2);
  });

  it("answers pipelined requests in order", async () => {
    const { name } = await makePipeline(world, client);
    const { socket, text } = await open(world.first.url);
    socket.write(`${head(name, 1)}1${head(name, 1)}x${head(name, 1)}3`);
    const answers = await waitFor(
      () => [...text().matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => match[1]),
      (seen) => seen.length === 3,
    );
    expect(answers).toEqual(["202", "400", "202"]);
    socket.destroy();
  });

  it("answers every request in flight when it is stopped, then takes no more", async () => {
    const { name, pipelineId } = await makePipeline(world, client);
    const stopping = await world.openGateway();
    const idle = await open(stopping.url);
    const half = await open(stopping.url);
    half.socket.write(`${head(name, 1)}`);
    const requests = Array.from({ length: 50 }, (_, i) => postEvent(stopping.url, client, name, String(i)).then((response) => response.status));
    await Promise.race(requests);
    const stopped = stopping.stop();
    half.socket.write("7");
    const statuses = await Promise.all(requests.map((request) => request.catch(() => "refused")));
    await stopped;
    expect(half.text()).toMatch(/^HTTP\/1\.1 202/);
    expect(half.text().toLowerCase()).toContain("connection: close");
    const accepted = statuses.filter((status) => status === 202).length;
    // A connection that was not accepted yet when the server stopped is refused, never half-answered.
    expect(accepted + statuses.filter((status) => status === "refused").length).toBe(50);
    expect(await count(pipelineId)).toBe(accepted + 1);
    idle.socket.destroy();
    await expect(fetch(`${stopping.url}/healthz`)).rejects.toThrow();
  });

  it("never answers 202 for what is not there, nor loses what it answered, while its database connections are killed", async () => {
    const { name } = await makePipeline(world, client);
    const answers = new Map<number, number>();
    const ids = new Set<string>();
    let sent = 0;
    let ended = false;
    const senders = Array.from({ length: 16 }, async () => {
      while (!ended) {
        const i = sent++;
        const response = await postEvent(world.first.url, client, name, String(i));
        answers.set(i, response.status);
        const body = (await response.json()) as { id?: string };
        if (body.id !== undefined) ids.add(body.id);
      }
    });
    let kills = 0;
    for (let round = 0; round < 15; round++) {
      const before = sent;
      await waitFor(
        () => sent,
        (now) => now > before + 40,
      );
      kills += (await world.store.sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'gw-%-c-%'`).length;
    }
    ended = true;
    await Promise.all(senders);
    expect(kills).toBeGreaterThan(0);
    const stored = await world.store.sql<{ payload: string; copies: bigint }[]>`
      select e.payload, count(*) as copies from onedata.batches b join onedata.events e on e.batch_id = b.id join onedata.pipelines p on p.id = b.pipeline_id where p.name = ${name} group by 1`;
    const there = new Set(stored.map((row) => Number(row.payload)));
    const statuses = [...new Set(answers.values())];
    expect(statuses.every((status) => status === 202 || status === 503)).toBe(true);
    expect(stored.filter((row) => Number(row.copies) !== 1)).toEqual([]);
    for (const [i, status] of answers) expect([i, status, there.has(i)]).toEqual([i, status, status === 202]);
  });
});
