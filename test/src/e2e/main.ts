/** `npm run e2e`: what a crash must not do, on real processes. Exits 1 when anything was lost or done twice. */
import { parseArgs } from "node:util";
import { broker } from "./broker.ts";
import { crash } from "./crash.ts";
import { drain } from "./drain.ts";
import { order } from "./order.ts";
import type { E2eOptions, Outcome } from "./outcome.ts";
import { recovery } from "./recovery.ts";
import { sinkCrash } from "./sink-crash.ts";
import { stall } from "./stall.ts";

type Case = { readonly doc: string; readonly run: (options: E2eOptions) => Promise<Outcome> };

const CASES: Readonly<Record<string, Case>> = {
  crash: { doc: "kill -9 of engine, transform, gateway, load and a Postgres backend in turn under load (cluster)", run: crash },
  "sink-crash": { doc: "load killed, and its session ended, in the middle of a sink transaction (cluster)", run: sinkCrash },
  stall: { doc: "engines and load stopped (SIGSTOP) inside a sink transaction for three leases, then continued (cluster)", run: stall },
  order: { doc: "order per key over two gateways and two engines, 1 % faults, kills meanwhile (cluster)", run: order },
  broker: { doc: "the broker killed, frozen, wiped, and down for good under load; KubeMQ double and NATS (cluster)", run: broker },
  drain: { doc: "SIGTERM under load and a start after it (solo and cluster)", run: drain },
  recovery: { doc: "the home lost under load, restored to the end of the archive and to a time before (solo)", run: recovery },
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    kills: { type: "string" },
    rate: { type: "string", default: "500" },
    seconds: { type: "string" },
    seed: { type: "string", default: "1" },
    "without-postgres": { type: "boolean", default: false },
    keys: { type: "string" },
    "per-key": { type: "string" },
    quick: { type: "boolean", default: false },
    "freeze-seconds": { type: "string", default: "60" },
    help: { type: "boolean", default: false },
  },
});

/** What is promised, and what shows in a minute or two whether something is wrong at all. */
const SIZES = { full: { kills: 200, keys: 1_000, perKey: 100 }, quick: { kills: 20, keys: 100, perKey: 60 } } as const;

const HELP = `npm run e2e -- [case ...] [options]

Cases (default: all):
${Object.entries(CASES)
  .map(([name, { doc }]) => `  ${name.padEnd(12)} ${doc}`)
  .join("\n")}

Options:
  --quick        sizes for a first look, named below in brackets
  --kills N      of crash; default ${SIZES.full.kills} [${SIZES.quick.kills}]
  --rate N       events per second; default 500
  --seconds N    over which the kills are spread; default 2 per kill
  --seed N       of the moments of the kills; default 1
  --freeze-seconds N   how long broker keeps one frozen; default 60
  --keys N       of order; default ${SIZES.full.keys} [${SIZES.quick.keys}]
  --per-key N    of order, events per key; default ${SIZES.full.perKey} [${SIZES.quick.perKey}]
  --without-postgres   crash kills no backend of Postgres, after which the server recovers
`;

const unknown = positionals.filter((name) => CASES[name] === undefined);
if (values.help || unknown.length > 0) {
  process.stdout.write(unknown.length > 0 ? `unknown ${unknown.join(", ")}\n\n${HELP}` : HELP);
  process.exitCode = unknown.length > 0 ? 2 : 0;
} else {
  const sizes = values.quick ? SIZES.quick : SIZES.full;
  const kills = Number(values.kills ?? sizes.kills);
  const options: E2eOptions = {
    kills,
    ratePerSecond: Number(values.rate),
    seconds: Number(values.seconds ?? kills * 2),
    seed: Number(values.seed),
    withPostgres: !values["without-postgres"],
    keys: Number(values.keys ?? sizes.keys),
    perKey: Number(values["per-key"] ?? sizes.perKey),
    freezeSeconds: Number(values["freeze-seconds"]),
    progress: (line) => void process.stderr.write(`  ${line}\n`),
  };
  for (const name of positionals.length === 0 ? Object.keys(CASES) : positionals) {
    process.stderr.write(`${name} ...\n`);
    const outcome = await CASES[name]?.run(options).catch((error: unknown) => ({
      ok: false,
      text: `failed: ${error instanceof Error ? error.message : String(error)}`,
    }));
    process.stdout.write(`${name}\n${outcome?.text ?? ""}\n\n`);
    if (outcome?.ok !== true) process.exitCode = 1;
  }
}
