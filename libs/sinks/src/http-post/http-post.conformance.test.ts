import { isJsonObject } from "@onedata/core";
import { parseJson, stringifyJson } from "@onedata/formats";
import { describe } from "vitest";
import { itKeepsTheSinkContract, type SinkHarness } from "../conformance.ts";
import { createHttpClient } from "./client.ts";
import { createHttpWriter } from "./http-post.ts";
import { openReceiver } from "./testing.ts";

/** Keeps what it gets, all or nothing per request, and cannot take a text for an amount. */
async function openHarness(): Promise<SinkHarness> {
  const stored: string[] = [];
  const receiver = await openReceiver(({ body }, response) => {
    const records = parseJson(body);
    const items = Array.isArray(records) ? records : [];
    const ok = items.every((item) => isJsonObject(item) && typeof item["amount"] !== "string");
    if (ok) stored.push(...items.map(stringifyJson));
    response.writeHead(ok ? 200 : 422).end(ok ? "" : "amount must be a number");
  });
  const client = createHttpClient({ allowedAddresses: ["127.0.0.1"] });
  return {
    kind: "http.post",
    writer: createHttpWriter(client),
    config: { connection: "billing", url: "records" },
    connection: { name: "billing", kind: "http", config: { baseUrl: receiver.url } },
    nowhere: { name: "billing", kind: "http", config: { baseUrl: "http://127.0.0.1:1", headers: { Authorization: "Bearer s3cret" } } },
    once: false,
    stored: () => Promise.resolve(stored),
    async [Symbol.asyncDispose]() {
      client.close();
      await receiver[Symbol.asyncDispose]();
    },
  };
}

describe("http.post", () => itKeepsTheSinkContract(openHarness));
