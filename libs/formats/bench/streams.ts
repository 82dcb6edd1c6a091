/** Records per second of one core for each format, records of about 200 bytes in chunks of 64 KiB. Run: `node --conditions=source --import tsx libs/formats/bench/streams.ts`. */
import { CsvSplitter, JsonArraySplitter, NdjsonSplitter, readStream, type Splitter } from "../src/index.ts";

const COUNT = 300_000;
const row = (n: number) => ({
  id: n,
  customer: `c-${n % 1000}`,
  email: "ola.nordmann@example.no",
  price: 12.5,
  quantity: n % 7,
  currency: "NOK",
  country_code: "NO",
  created: "2026-11-23T00:25:33.120Z",
  city: "Oslo",
  note: "left at the door",
});
const rows = Array.from({ length: COUNT }, (_, n) => row(n));

async function* chunksOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += 65_536) yield bytes.subarray(at, at + 65_536);
}

async function measure(name: string, text: string, create: () => Splitter): Promise<void> {
  const bytes = Buffer.from(text);
  for (const isWarm of [false, true]) {
    const cpu = process.cpuUsage();
    let [records, rejects] = [0, 0];
    for await (const items of readStream(chunksOf(bytes), create())) {
      for (const item of items) {
        if (item.kind === "record") records += 1;
        else rejects += 1;
      }
    }
    const used = process.cpuUsage(cpu);
    const us = used.user + used.system;
    if (isWarm)
      console.log(
        `${name.padEnd(24)} ${(bytes.byteLength / COUNT).toFixed(0)} B  ${Math.round((records / us) * 1e6).toLocaleString("en")} records/s of one core, ${(us / records).toFixed(2)} us each, ${rejects} rejects`,
      );
  }
}

const names = Object.keys(row(0));
await measure("NDJSON", rows.map((r) => JSON.stringify(r)).join("\n"), () => new NdjsonSplitter());
await measure("JSON array", JSON.stringify(rows), () => new JsonArraySplitter());
await measure("CSV", [names.join(","), ...rows.map((r) => Object.values(r).join(","))].join("\n"), () => new CsvSplitter());
await measure(
  "CSV, one field quoted",
  [names.join(","), ...rows.map((r) => Object.values(r).join(",").replace("left at", '"left, ""at""') + '"')].join("\n"),
  () => new CsvSplitter(),
);
