/** Operations and sinks through the real API, and what an operator does to a running solo: stop, start twice, break a sink, allow an address. */
import { spawn } from "node:child_process";
import { chmodSync, mkdtempSync, readdirSync, statSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Answer, Api } from "../world/api.ts";
import { waitFor } from "../world/wait-for.ts";
import { MAIN, openWorld, removeHome, type World } from "../world/world.ts";

let world: World;
let api: Api;
let receiver: Server;
let receiverUrl = "";
const received: { key: string; records: unknown[] }[] = [];

beforeAll(async () => {
  receiver = createServer((request, response) => {
    let text = "";
    request.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    request.on("end", () => {
      if (text !== "") received.push({ key: String(request.headers["idempotency-key"]), records: JSON.parse(text) });
      response.writeHead(204).end();
    });
  });
  await new Promise<void>((resolve) => receiver.listen(0, "127.0.0.1", resolve));
  const address = receiver.address();
  receiverUrl = `http://127.0.0.1:${typeof address === "object" ? address?.port : 0}/in`;
  world = await openWorld("solo", { env: { ONEDATA_ALLOWED_ADDRESSES: "127.0.0.1" } });
  api = world.api;
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
  receiver.close();
});

async function put(name: string, spec: object): Promise<void> {
  const answer = await api.send("PUT", `/v1/pipelines/${name}`, { name, ...spec });
  expect(answer.status, answer.text).toBe(200);
}
const send = (name: string, event: unknown): Promise<Answer> =>
  api.send("POST", `/v1/pipelines/${name}/events`, event as object, { prefer: "wait=20" });
const event = (id: string): Promise<Answer> => api.get(`/v1/events/${id}`);

describe("operations", () => {
  it.each<[string, object, object, object[]]>([
    ["record.pick", { fields: ["id"] }, { id: 1, x: 2 }, [{ id: 1 }]],
    ["record.rename", { fields: { "E-mail": "contact.email" } }, { "E-mail": "a@b" }, [{ contact: { email: "a@b" } }]],
    [
      "record.explode",
      { path: "lines", as: "line" },
      { id: 1, lines: ["a", "b"] },
      [
        { id: 1, line: "a" },
        { id: 1, line: "b" },
      ],
    ],
    ["record.cast", { fields: { id: "integer", paid: "boolean" } }, { id: "007", paid: "Yes" }, [{ id: 7, paid: true }]],
    ["record.filter", { where: "x > 1" }, { x: 2 }, [{ x: 2 }]],
    ["parse.csv", { path: "text" }, { text: 'id;name\n1;"a; b"\n' }, [{ id: "1", name: "a; b" }]],
    ["parse.json", { path: "text" }, { text: "[1,2]" }, [{ text: [1, 2] }]],
  ])("%s does what it says, end to end", async (use, config, input, outputs) => {
    const name = use.replace(".", "-");
    await put(name, { steps: [{ id: "a", use, with: config }] });
    expect((await send(name, input)).json).toMatchObject({ verdict: "delivered", outputs });
  });

  it("look up with each way to miss", async () => {
    expect((await api.send("PUT", "/v1/lookups/colours", "code,name\nr,red\n", { "content-type": "text/csv" })).status).toBe(200);
    const verdicts = await Promise.all(
      ["dead", "null", "filter"].map(async (missing) => {
        const step = { id: "a", use: "enrich.lookup", with: { table: "colours", on: "c", column: "code", take: { name: "name" }, missing } };
        await put(`miss-${missing}`, { steps: [step] });
        const hit = await send(`miss-${missing}`, { c: "r" });
        expect(hit.json.outputs).toEqual([{ c: "r", name: "red" }]);
        const { json } = await send(`miss-${missing}`, { c: "zz" });
        return json.outputs ?? (await event(json.id)).json.deadLetters[0]?.code ?? json.verdict;
      }),
    );
    expect(verdicts).toEqual(["lookup.missing", [{ c: "zz", name: null }], "filtered"]);
  });

  it("branch, join in the order of needs, bypass where `when` is false, and write leaves or what `from` names", async () => {
    await put("branches", {
      steps: [
        { id: "big", use: "record.map", with: { set: { size: '"big"' } }, when: "n > 10" },
        { id: "left", use: "record.map", with: { set: { side: '"left"' } }, needs: ["big"] },
        { id: "right", use: "record.map", with: { set: { side: '"right"' } }, needs: ["big"] },
        { id: "both", use: "record.map", with: { set: { joined: "true" } }, needs: ["right", "left"] },
      ],
      sinks: [{ use: "onedata.outputs" }, { use: "http.post", with: { url: receiverUrl }, from: ["left"] }],
    });
    expect((await send("branches", { n: 11 })).json.outputs).toEqual([
      { n: 11, size: "big", side: "right", joined: true },
      { n: 11, size: "big", side: "left", joined: true },
    ]);
    expect((await send("branches", { n: 1 })).json.outputs).toEqual([
      { n: 1, side: "right", joined: true },
      { n: 1, side: "left", joined: true },
    ]);
    expect(received.flatMap(({ records }) => records)).toEqual([
      { n: 11, size: "big", side: "left" },
      { n: 1, side: "left" },
    ]);
    expect(received.every(({ key }) => key.length > 4)).toBe(true);
  });
});

describe("a table", () => {
  const spec = { sinks: [{ use: "postgres.insert", with: { connection: "warehouse", table: "readings" } }] };

  it("that refuses a value buries that event alone; one that is dropped holds its events until it is back", async () => {
    const create = () => world.warehouse.unsafe("create table readings (id int primary key, at date); grant all on readings to warehouse");
    await create();
    await put("readings", spec);
    const [fine, wrong] = await Promise.all([send("readings", { id: 1, at: "2024-02-29" }), send("readings", { id: 2, at: "the day after" })]);
    expect([fine?.json.verdict, wrong?.json.verdict]).toEqual(["delivered", "dead"]);
    expect((await event(wrong?.json.id)).json.deadLetters[0].code).toMatch(/^sink\./);

    await world.warehouse.unsafe("drop table readings");
    const held = await api.send("POST", "/v1/pipelines/readings/events", { id: 3, at: null });
    const blocked = await waitFor(
      "blocked",
      () => event(held.json.id),
      ({ json }) => /readings/.test(json.waitingFor ?? ""),
    );
    expect(blocked.json.state).toBe("waiting");
    expect((await send("orders", { id: "beside", price: 1, quantity: 1 })).json.verdict).toBe("delivered");
    await create();
    await waitFor(
      "done",
      () => event(held.json.id),
      ({ json }) => json.state === "done" && json.verdict === "delivered",
    );
    expect(await world.warehouse`select id from readings`).toEqual([{ id: 3 }]);
  });
});

describe("an operator", () => {
  const start = (env: Record<string, string>): Promise<{ code: number | null; output: string }> =>
    new Promise((resolve) => {
      const child = spawn(process.execPath, [MAIN.solo], { env: { PATH: process.env["PATH"] ?? "", ...env } });
      let output = "";
      child.stdout.on("data", (chunk) => (output += chunk));
      child.stderr.on("data", (chunk) => (output += chunk));
      child.once("exit", (code) => resolve({ code, output }));
    });

  it("is told why a second instance, a taken port or wrong settings do not start, and the first one lives on", async () => {
    const other = mkdtempSync(join(tmpdir(), "onedata-other-"));
    chmodSync(other, 0o755);
    try {
      const taken = await start({ ONEDATA_HOME: other, ONEDATA_PORT: new URL(world.url).port });
      expect(taken).toMatchObject({ code: 2, output: expect.stringMatching(/another program listens on 127\.0\.0\.1:\d+/) });
      const [second, settings] = await Promise.all([
        start({ ONEDATA_HOME: world.home, ONEDATA_PORT: "0" }),
        start({ ONEDATA_HOME: other, ONEDATA_PORT: "abc", ONEDATA_EXAMPLES: "maybe" }),
      ]);
      expect(second).toMatchObject({ code: 2, output: expect.stringMatching(/another OneData \(process \d+\) runs in/) });
      expect(settings).toMatchObject({ code: 2, output: expect.stringMatching(/ONEDATA_PORT.*ONEDATA_EXAMPLES/s) });
      expect((await send("orders", { id: "alive", price: 1, quantity: 1 })).json.verdict).toBe("delivered");
    } finally {
      removeHome(other);
    }
  });

  it("finds secrets readable by the owner alone, and none in the log", async () => {
    for (const name of readdirSync(world.home)) {
      const stat = statSync(join(world.home, name));
      if (stat.isFile()) expect([name, stat.mode & 0o077]).toEqual([name, 0]);
    }
    expect(world.output()).not.toContain(api.token);
  });

  it("stops with events under way, starts again, and all are delivered", async () => {
    const sent = await Promise.all(
      Array.from({ length: 200 }, (_, i) => api.send("POST", "/v1/pipelines/orders/events", { id: `stop${i}`, price: 1, quantity: 1 })),
    );
    expect(sent.every(({ status }) => status === 202)).toBe(true);
    const { home } = world;
    await world.stop();
    world = await openWorld("solo", { home });
    api = world.api;
    try {
      await waitFor(
        "all there",
        () => world.warehouse`select count(*)::int n from orders where id like 'stop%'`,
        ([row]) => row?.["n"] === 200,
      );
    } finally {
      await world[Symbol.asyncDispose]();
      removeHome(home);
    }
  });
});
