/** CPU per record of lossless parse and stringify beside the bare built-ins, for records of about 200 bytes. Run: `node --conditions=source --import tsx libs/formats/bench/json.ts`. */
import { checkJsonBytes, parseJson, stringifyJson } from "../src/index.ts";

const plain = JSON.stringify({
  id: 4711,
  customer: "c-1204",
  email: "ola.nordmann@example.no",
  price: 12.5,
  quantity: 3,
  currency: "NOK",
  country_code: "NO",
  createdAt: "2026-11-23T00:25:33.120Z",
  tags: ["web", "first"],
  address: { city: "Oslo", zip: "0150" },
});
const exact = plain.replace("4711", "12345678901234567890");
const bytes = new TextEncoder().encode(plain);

function measure(name: string, run: () => unknown): void {
  for (let i = 0; i < 50_000; i++) run();
  const rounds = 300_000;
  const start = process.hrtime.bigint();
  for (let i = 0; i < rounds; i++) run();
  console.log(`${name.padEnd(44)} ${(Number(process.hrtime.bigint() - start) / rounds / 1000).toFixed(3)} us`);
}

console.log(`record: ${bytes.byteLength} bytes`);
const value = JSON.parse(plain);
const exactValue = parseJson(exact);
measure("JSON.parse", () => JSON.parse(plain));
measure("parseJson", () => parseJson(plain));
measure("parseJson, one exact number", () => parseJson(exact));
measure("JSON.stringify", () => JSON.stringify(value));
measure("stringifyJson", () => stringifyJson(value));
measure("stringifyJson, one exact number", () => stringifyJson(exactValue));
measure("checkJsonBytes", () => checkJsonBytes(bytes));
