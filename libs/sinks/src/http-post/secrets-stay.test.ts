/** A pipeline that names a connection cannot make it send its secrets to another place. */
import { expect, it } from "vitest";
import { testContext, testGroup, testRecord } from "../conformance.ts";
import { createHttpClient } from "./client.ts";
import { createHttpWriter } from "./http-post.ts";
import { openReceiver } from "./testing.ts";

it("sends a connection's secrets below its base URL only, however the path is written", async () => {
  await using home = await openReceiver((_, response) => void response.writeHead(204).end());
  await using elsewhere = await openReceiver((_, response) => void response.writeHead(204).end());
  const other = `127.0.0.1:${elsewhere.port}`;
  const writer = createHttpWriter(createHttpClient({ allowedAddresses: ["127.0.0.1"] }));
  const connection = { name: "billing", kind: "http", config: { baseUrl: `${home.url}/ours`, headers: { "X-Secret": "s3cret" } } };
  const write = async (url: string) => {
    const group = testGroup({ kind: "http.post", config: { connection: "billing", url }, connection }, [testRecord(0, "{}")]);
    return [...(await writer.write([group], testContext())).values()].map((outcome) => (outcome.kind === "failed" ? outcome.code : outcome.kind));
  };

  for (const url of [
    `http://${other}/x`,
    `HTTP://${other}/x`,
    ` http://${other}/x`,
    `\\\\${other}/x`,
    `\t//${other}/x`,
    `/\\${other}/x`,
    `\n\\\\${other}/x`,
  ])
    expect(await write(url), JSON.stringify(url)).toEqual(["config.invalid"]);
  for (const url of ["../theirs", "%2e%2e/theirs", "x/../../theirs", "..\\theirs", "/../theirs"])
    expect(await write(url), JSON.stringify(url)).toEqual(["config.invalid"]);
  expect(elsewhere.received).toEqual([]);
  expect(home.received).toEqual([]);

  // Read as paths, whatever they look like.
  for (const url of [`//${other}/x`, "orders", "/orders", "a/../orders"]) expect(await write(url), JSON.stringify(url)).toEqual(["written"]);
  expect(elsewhere.received).toEqual([]);
  expect(home.received.map((request) => [request.url, request.headers["x-secret"]])).toEqual([
    [`/ours/${other}/x`, "s3cret"],
    ["/ours/orders", "s3cret"],
    ["/ours/orders", "s3cret"],
    ["/ours/orders", "s3cret"],
  ]);
});

it("sends them again to no place that a redirect leads through, and at home only", async () => {
  await using home = await openReceiver(({ url }, response) => {
    if (url === "/start") response.writeHead(307, { location: `${elsewhere.url}/hop` }).end();
    else response.writeHead(204).end();
  });
  await using elsewhere = await openReceiver((_, response) => void response.writeHead(308, { location: `${home.url}/end` }).end());
  const client = createHttpClient({ allowedAddresses: ["127.0.0.1"] });
  for (const method of ["POST", "HEAD"] as const) {
    const answer = await client.send({
      method,
      url: new URL(`${home.url}/start`),
      headers: {},
      secretHeaders: { "X-Secret": "s3cret" },
      body: "",
      timeoutMs: 20_000,
      signal: new AbortController().signal,
    });
    expect(answer.status).toBe(204);
  }
  expect(elsewhere.received.map((request) => [request.url, request.headers["x-secret"]])).toEqual([
    ["/hop", undefined],
    ["/hop", undefined],
  ]);
});
