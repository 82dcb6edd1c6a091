import { readContract } from "@onedata/contracts";
import { catalogue } from "@onedata/core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Gateway, openGateway } from "../rest/test-backend.ts";
import { createDocsFacade } from "./facade.ts";

let gateway: Gateway;
beforeAll(async () => {
  gateway = await openGateway([createDocsFacade(readContract())]);
});
afterAll(async () => gateway[Symbol.asyncDispose]());

const get = (path: string, init: RequestInit = {}): Promise<Response> => fetch(gateway.url + path, init);

it("serves the document with an etag, whole or zipped", async () => {
  const answer = await get("/openapi.json");
  expect(answer.headers.get("content-type")).toBe("application/json");
  expect(await answer.json()).toMatchObject({ openapi: "3.1.0", info: { title: "OneData" } });
  const etag = answer.headers.get("etag") ?? "";
  expect((await get("/openapi.json", { headers: { "if-none-match": etag } })).status).toBe(304);
  expect((await get("/openapi.json", { headers: { "accept-encoding": "identity" } })).headers.get("content-encoding")).toBeNull();
  expect((await get("/openapi.json", { method: "HEAD" })).status).toBe(200);
});

it("shows the API with everything from this host, and lets no script of another run", async () => {
  const answer = await get("/docs");
  const page = await answer.text();
  expect(answer.headers.get("content-security-policy")).toContain("script-src 'self'; style-src 'self';");
  const links = [...page.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link]) => link ?? "");
  expect(links.filter((link) => !link.startsWith("/"))).toEqual([]);
  for (const link of links) expect([link, (await get(link)).status]).toEqual([link, 200]);
  expect(page).not.toMatch(/<script>|style="/);
});

it("has an entry for every code of the catalogue", async () => {
  const page = await (await get("/docs/errors")).text();
  for (const code of Object.keys(catalogue)) expect(page).toContain(`id="${code}"`);
});

it("takes GET and HEAD only, and leaves other paths alone", async () => {
  const answer = await get("/docs", { method: "POST" });
  expect([answer.status, answer.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
  expect((await get("/docs/assets/../../package.json")).status).toBe(404);
  expect((await get("/docs/assets/package.json")).status).toBe(404);
});
