/** CPU per record of a three-step chain (map, validate, map) over records of about 200 bytes. Run: `node --conditions=source --import tsx libs/operations/bench/apply.ts`. */
import type { JsonObject } from "@onedata/core";
import { applySteps, findOperation, type OperationDeps, type Step } from "../src/index.ts";

const deps: OperationDeps = { lookups: { get: async () => new Map() } };
const compile = (name: string, config: JsonObject): Step => {
  const operation = findOperation(name);
  if (operation === undefined) throw new Error(name);
  return operation.compile(config, deps);
};

const map = compile("record.map", { set: { total: "price * quantity", country: "$uppercase(country_code)" } });
const validate = compile("record.validate", {
  schema: {
    type: "object",
    required: ["id", "customer", "total"],
    properties: {
      id: { type: "integer" },
      customer: { type: "string", pattern: "^c-[0-9]+$" },
      total: { type: "number", minimum: 0 },
      email: { type: "string", format: "email" },
    },
  },
});
const gross = compile("record.map", { set: { gross: "total * 1.25" }, unset: ["email"] });

const records = Array.from({ length: 500 }, (_, n) => ({
  n,
  timeUnixMs: 1_795_000_000_000,
  json: new TextEncoder().encode(
    JSON.stringify({
      id: n,
      customer: `c-${n}`,
      email: "ola.nordmann@example.no",
      price: 12.5,
      quantity: (n % 7) + 1,
      currency: "NOK",
      country_code: "no",
      created: "2026-11-23T00:25:33.120Z",
      tags: ["web", "first"],
      city: "Oslo",
    }),
  ),
}));

async function measure(name: string, steps: readonly Step[], seconds = 2): Promise<void> {
  for (let i = 0; i < 20; i++) await applySteps(steps, records);
  const cpu = process.cpuUsage();
  const until = performance.now() + seconds * 1000;
  let calls = 0;
  while (performance.now() < until) {
    await applySteps(steps, records);
    calls += 1;
  }
  const used = process.cpuUsage(cpu);
  console.log(`${name.padEnd(28)} ${((used.user + used.system) / (calls * records.length)).toFixed(2)} us of CPU per record`);
}

console.log(`records: ${records[0]?.json.byteLength} bytes, ${records.length} per call`);
await measure("no step (parse only)", []);
await measure("map", [map]);
await measure("validate", [validate]);
await measure("map, validate, map", [map, validate, gross]);
