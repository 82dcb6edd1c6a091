/**
 * CPU time per record of compiled expressions, of the package, and of the same thing written as plain JavaScript.
 * Run: node --conditions=source --import tsx libs/operations/bench/expression.ts
 */
import type { Json } from "@onedata/core";
import { compileExpression, runByPackage } from "../src/expression/expression.ts";
import { resolveLimits } from "../src/expression/limits.ts";
import { PackageGuard } from "../src/expression/package-evaluator.ts";
import { parseExpression } from "../src/expression/syntax.ts";

type Item = { readonly sku: string; readonly price: number; readonly quantity: number };
type Order = {
  readonly id: string;
  readonly price: number;
  readonly quantity: number;
  readonly country_code: string;
  readonly status: string;
  readonly customer: { readonly name: string; readonly address: { readonly city: string } };
  readonly items: readonly Item[];
};

const orders: readonly Order[] = Array.from({ length: 1_000 }, (_, i) => ({
  id: `order-${i}`,
  price: (i % 90) + 0.5,
  quantity: (i % 7) + 1,
  country_code: i % 3 === 0 ? "NO" : "SE",
  status: i % 5 === 0 ? "open" : "paid",
  customer: { name: ` Kari Nordmann ${i} `, address: { city: i % 2 === 0 ? "Oslo" : "Bergen" } },
  items: Array.from({ length: 5 }, (_item, n) => ({ sku: `sku-${(i + n) % 20}`, price: n + 1.25, quantity: (n % 3) + 1 })),
}));

const expressions: readonly { readonly source: string; readonly plain: (order: Order) => unknown }[] = [
  { source: "price * quantity", plain: (o) => o.price * o.quantity },
  { source: "country_code = 'NO' and status != 'open'", plain: (o) => o.country_code === "NO" && o.status !== "open" },
  {
    source: "$uppercase($trim(customer.name)) & ', ' & customer.address.city",
    plain: (o) =>
      `${o.customer.name
        .replace(/[ \t\n\r]+/gm, " ")
        .trim()
        .toUpperCase()}, ${o.customer.address.city}`,
  },
  {
    source: "$sum(items[quantity > 1].(price * quantity))",
    plain: (o) => o.items.filter((i) => i.quantity > 1).reduce((sum, i) => sum + i.price * i.quantity, 0),
  },
  {
    source:
      "{'id': id, 'city': customer.address.city, 'total': price * quantity, 'large': price * quantity > 100, 'skus': items.sku, 'label': status = 'paid' ? 'P-' & id : 'O-' & id}",
    plain: (o) => ({
      id: o.id,
      city: o.customer.address.city,
      total: o.price * o.quantity,
      large: o.price * o.quantity > 100,
      skus: o.items.map((i) => i.sku),
      label: o.status === "paid" ? `P-${o.id}` : `O-${o.id}`,
    }),
  },
];

const clock = { timeUnixMs: 1_790_000_000_000 };
const limits = resolveLimits();
let sink: unknown; // keeps the results alive

/** CPU microseconds per record: the best of five rounds after warming up. */
async function measure(records: readonly Order[], rounds: number, evaluate: (order: Order) => unknown): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < 6; attempt++) {
    const before = process.cpuUsage();
    for (let round = 0; round < rounds; round++) {
      for (const order of records) {
        const result = evaluate(order);
        sink = result instanceof Promise ? await result : result;
      }
    }
    const { user, system } = process.cpuUsage(before);
    if (attempt > 0) best = Math.min(best, (user + system) / (rounds * records.length));
  }
  return best;
}

const asJson = (order: Order): Json => JSON.parse(JSON.stringify(order));

const rows: Record<string, string>[] = [];
for (const { source, plain } of expressions) {
  const compiled = compileExpression(source);
  const guard = new PackageGuard(limits);
  const packaged = runByPackage(parseExpression(source, limits, guard), guard);
  const { evaluateSync } = compiled;
  if (evaluateSync === undefined) throw new Error(`${source} is not compiled`);
  const records = new Map(orders.map((order) => [order, asJson(order)]));
  const jsonOf = (order: Order): Json => records.get(order) ?? null;
  const loopUs = await measure(orders, 100, jsonOf); // the map's own share, taken off below
  const compiledUs = (await measure(orders, 100, (order) => evaluateSync(jsonOf(order), clock))) - loopUs;
  const packageUs = (await measure(orders, 3, (order) => packaged.evaluate(jsonOf(order), clock))) - loopUs;
  const plainUs = await measure(orders, 100, plain);
  rows.push({
    expression: source.length > 60 ? `${source.slice(0, 59)}…` : source,
    "compiled us": compiledUs.toFixed(2),
    "package us": packageUs.toFixed(1),
    "plain us": plainUs.toFixed(3),
    "package / compiled": `${Math.round(packageUs / compiledUs)}x`,
  });
}
console.table(rows);
void sink;
