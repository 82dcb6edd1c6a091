/**
 * Receivers on real sockets that fail: with one record for ever, or with everybody for a while. What is delivered, what dies, and what users read meanwhile.
 * They fail at the same time, in one world: most of it is waiting, and none may cost another's pipeline anything.
 */
import { createServer } from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../world/wait-for.ts";
import { openWorld, type Profile, type World } from "../world/world.ts";

type Answer = { readonly status: number; readonly text?: string };

interface Receiver extends AsyncDisposable {
  readonly url: string;
  /** How often each id was taken. */
  readonly seen: ReadonlyMap<number, number>;
  readonly requests: () => number;
  readonly rule: { judge: (ids: readonly number[]) => Answer };
}

/** Takes arrays of `{ id }`; `judge` says what it answers. */
async function openReceiver(): Promise<Receiver> {
  const seen = new Map<number, number>();
  const rule: { judge: (ids: readonly number[]) => Answer } = { judge: () => ({ status: 204 }) };
  let requests = 0;
  const server = createServer((request, response) => {
    let text = "";
    request.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    request.on("end", () => {
      requests += 1;
      const ids = (JSON.parse(text) as { id: number }[]).map(({ id }) => id);
      const answer = rule.judge(ids);
      if (answer.status < 300) for (const id of ids) seen.set(id, (seen.get(id) ?? 0) + 1);
      response.writeHead(answer.status).end(answer.text);
    });
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const address = server.address();
  return {
    url: `http://127.0.0.1:${typeof address === "object" ? address?.port : 0}/in`,
    seen,
    requests: () => requests,
    rule,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}

describe.each<Profile>(["solo", "cluster"])("a receiver that fails, in %s", (profile) => {
  let world: World;

  beforeAll(async () => {
    world = await openWorld(profile, { env: { ONEDATA_ALLOWED_ADDRESSES: "127.0.0.1" } });
  }, 180_000);
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]();
  });

  const put = async (name: string, sink: object, more: object = {}): Promise<void> => {
    const spec = { name, sinks: [{ id: "billing", use: "http.post", ...sink }], ...more };
    const answer = await world.api.send("PUT", `/v1/pipelines/${name}`, spec);
    expect(answer.status, answer.text).toBe(200);
  };
  const load = async (name: string, ids: readonly number[], more: (id: number) => object = () => ({})): Promise<void> => {
    const lines = ids.map((id) => JSON.stringify({ id, ...more(id) })).join("\n");
    const answer = await world.api.send("POST", `/v1/pipelines/${name}/imports`, lines, { "content-type": "application/x-ndjson" });
    expect(answer.status, answer.text).toBe(202);
  };
  const letters = async (name: string) => (await world.api.get(`/v1/dead-letters?pipeline=${name}`)).json.deadLetters as { message: string }[];
  const waiting = async (name: string): Promise<string[]> =>
    ((await world.api.get(`/v1/pipelines/${name}/events?state=waiting`)).json.events as { waitingFor: string }[]).map(({ waitingFor }) => waitingFor);
  const range = (count: number, from: number): number[] => Array.from({ length: count }, (_, i) => from + i);

  it.concurrent("one record in ten thousand that it answers with 500: the others are delivered first, that one dies with the answer", async () => {
    await using receiver = await openReceiver();
    const bad = 7_777;
    receiver.rule.judge = (ids) => (ids.includes(bad) ? { status: 500, text: `cannot price ${bad}` } : { status: 204 });
    await put("poison", { with: { url: receiver.url }, retries: 2 });
    await load("poison", range(10_000, 0));
    await waitFor(
      "the others delivered",
      () => Promise.resolve(receiver.seen.size),
      (size) => size === 9_999,
      60_000,
    );
    expect(await letters("poison")).toEqual([]);
    const [sentence = ""] = await waitFor(
      "only one waits",
      () => waiting("poison"),
      ({ length }) => length === 1,
      30_000,
    );
    expect(sentence).toMatch(
      /^sink billing fails with this record alone, and writes others \(http:\/\/127\.0\.0\.1:\d+\/in answers 500: cannot price 7777\), try \d of 3 at \d\d:\d\d:\d\d UTC$|an engine is running it/,
    );
    const [letter] = await waitFor(
      "dead",
      () => letters("poison"),
      ({ length }) => length > 0,
      90_000,
    );
    expect(letter).toMatchObject({ sink: "billing", code: "sink.failed", payload: { id: bad } });
    expect(letter?.message).toMatch(
      /^http:\/\/127\.0\.0\.1:\d+\/in answers 500: cannot price 7777 \(this record failed alone 3 times, and meanwhile the sink wrote others\)$/,
    );
    console.info(`${profile}: ${sentence}\n${profile}: ${letter?.message}`);
    expect(await letters("poison")).toHaveLength(1);
    expect(receiver.seen.size).toBe(9_999);
    expect(receiver.seen.has(bad)).toBe(false);
  }, 240_000);

  it.concurrent("everybody for a while: nobody dies, it is asked little, and all are delivered when it mends", async () => {
    await using receiver = await openReceiver();
    receiver.rule.judge = () => ({ status: 500, text: "boom" });
    await put("outage", { with: { url: receiver.url }, retries: 0 });
    await load("outage", range(1_000, 0));
    const before = receiver.requests();
    const blocked = await waitFor(
      "blocked",
      () => waiting("outage"),
      (sentences) => sentences.some((sentence) => sentence.includes("for every record")),
      60_000,
    );
    expect(blocked.find((sentence) => sentence.includes("for every record"))).toMatch(
      /^service load \(sink billing of outage\): http:\/\/127\.0\.0\.1:\d+\/in answers 500: boom, for every record \(sink\.unavailable\), since \d\d:\d\d UTC, (next try \d\d:\d\d:\d\d UTC|the next try is due)$/,
    );
    console.info(`${profile}: ${blocked.find((sentence) => sentence.includes("for every record"))}`);
    const asked = receiver.requests();
    await waitFor(
      "tried again and again",
      () => Promise.resolve(receiver.requests()),
      (requests) => requests >= asked + 4,
      60_000,
    );
    expect(receiver.requests() - before).toBeLessThan(200);
    expect(await letters("outage")).toEqual([]);
    expect(receiver.seen.size).toBe(0);
    receiver.rule.judge = () => ({ status: 204 });
    await waitFor(
      "all delivered",
      () => Promise.resolve(receiver.seen.size),
      (size) => size === 1_000,
      150_000,
    );
    expect(await letters("outage")).toEqual([]);
  }, 300_000);

  it.concurrent("one record of one key, where order counts: only that key waits, and it goes on when the record is dead", async () => {
    await using receiver = await openReceiver();
    const order: number[] = [];
    receiver.rule.judge = (ids) => {
      if (ids.includes(3)) return { status: 500, text: "not three" };
      order.push(...ids);
      return { status: 204 };
    };
    await put("ordered", { with: { url: receiver.url, batchSize: 5 }, retries: 1 }, { input: { ordering: "customer" } });
    await load("ordered", range(30, 0), (id) => ({ customer: `c${id % 3}` }));
    await waitFor(
      "the others delivered",
      () => Promise.resolve(order.length),
      (length) => length >= 20,
      60_000,
    );
    expect(new Set(order.slice(0, 20).filter((id) => id % 3 === 0))).toEqual(new Set([0]));
    await waitFor(
      "all but one delivered",
      () => Promise.resolve(receiver.seen.size),
      (size) => size === 29,
      90_000,
    );
    for (const key of [0, 1, 2]) {
      const own = order.filter((id) => id % 3 === key);
      expect(own).toEqual([...own].sort((a, b) => a - b));
    }
    expect(
      await waitFor(
        "dead",
        () => letters("ordered"),
        ({ length }) => length > 0,
      ),
    ).toMatchObject([{ code: "sink.failed", payload: { id: 3, customer: "c0" } }]);
  }, 180_000);
});
