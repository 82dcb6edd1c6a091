/** A pipeline that pauses itself tells by webhook: signed, once, and not lost by a crash of everything. */
import { createHmac } from "node:crypto";
import { createServer, type IncomingHttpHeaders } from "node:http";
import { callCli, readLines } from "@onedata/cli/testing";
import { describe, expect, it } from "vitest";
import { waitFor } from "../world/wait-for.ts";
import { openWorld, type World } from "../world/world.ts";

type Message = { readonly id: string; readonly headers: IncomingHttpHeaders; readonly body: string };

/** Refuses every message once, then takes it. */
async function openReceiver() {
  const tried = new Set<string>();
  const taken: Message[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (text: string) => (body += text));
    request.on("end", () => {
      const id = String(request.headers["webhook-id"]);
      if (tried.has(id)) taken.push({ id, headers: request.headers, body });
      response.writeHead(tried.has(id) ? 204 : 500).end();
      tried.add(id);
    });
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const address = server.address();
  return {
    url: `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}/hook`,
    tried,
    taken,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}

/** As the specification of Standard Webhooks has it. */
function isSigned({ id, headers, body }: Message, secret: string): boolean {
  const key = Buffer.from(secret.replace("whsec_", ""), "base64");
  const expected = createHmac("sha256", key)
    .update(`${id}.${String(headers["webhook-timestamp"])}.${body}`)
    .digest("base64");
  return String(headers["webhook-signature"]).split(" ").includes(`v1,${expected}`);
}

describe("webhooks", () => {
  it("tell that a pipeline paused itself, once, though everything was killed before the message got through", async () => {
    await using receiver = await openReceiver();
    const env = { ONEDATA_ALLOWED_ADDRESSES: "127.0.0.1" };
    const first = await openWorld("solo", { env });
    const cli = (world: World, ...args: string[]) => callCli([...args, "--json"], { env: { ONEDATA_HOME: world.home } });
    let second: World | undefined;
    try {
      const added = await cli(first, "subscriptions", "add", receiver.url, "--topic", "pipeline.paused", "dead_letters.grew");
      expect(added).toMatchObject({ code: 0, stderr: "" });
      const [made] = readLines(added.stdout);
      const secret = String(made?.["secret"]);
      const { id } = Object(made?.["subscription"]);
      await Promise.all(
        Array.from({ length: 260 }, (_, i) => first.api.send("POST", "/v1/pipelines/orders/events", { id: i, price: -471_147, quantity: 1 })),
      );
      const isTried = async () => ({ tried: receiver.tried.size, pipeline: (await first.api.get("/v1/pipelines/orders")).json.state });
      await waitFor("paused and told", isTried, ({ tried, pipeline }) => pipeline === "paused" && tried >= 2, 60_000);
      await first.kill();
      second = await openWorld("solo", { env, home: first.home });
      const world = second;
      const deliveries = async () => (await world.api.get(`/v1/subscriptions/${id}/deliveries`)).json.deliveries;
      // What was claimed when everything died comes again when its lease ends.
      await waitFor(
        "delivered",
        deliveries,
        (list) => list.length >= 2 && list.every((one: { state: string }) => one.state === "delivered"),
        100_000,
      );
      const types = receiver.taken.map(({ body }) => JSON.parse(body).type);
      expect(types.filter((type) => type === "pipeline.paused")).toHaveLength(1);
      expect(types).toContain("dead_letters.grew");
      expect(new Set(receiver.taken.map((message) => message.id))).toEqual(receiver.tried);
      for (const message of receiver.taken) {
        expect(isSigned(message, secret)).toBe(true);
        expect(isSigned(message, "whsec_AAAA")).toBe(false);
        expect(message.body).not.toContain("471147");
        expect(message.body).not.toContain("471,147");
      }
      const paused = receiver.taken.map(({ body }) => JSON.parse(body)).find(({ type }) => type === "pipeline.paused");
      expect(paused).toMatchObject({
        text: expect.stringMatching(/^orders paused itself: .* died/),
        data: { pipeline: "orders", version: 1, class: "live", dead: expect.any(Number), events: expect.any(Number) },
      });
      const [listed] = readLines((await cli(world, "subscriptions", "list")).stdout);
      expect(listed).toMatchObject({ id, problem: "", enabled: true });
    } finally {
      await second?.[Symbol.asyncDispose]();
      await first[Symbol.asyncDispose]();
    }
  }, 240_000);
});
