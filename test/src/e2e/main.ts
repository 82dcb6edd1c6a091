/** `npm run e2e`: what a crash must not do, on real processes. Exits 1 when anything was lost or done twice. */
import { parseArgs } from "node:util";
import { crash } from "./crash.ts";
import { drain } from "./drain.ts";
import type { E2eOptions, Outcome } from "./outcome.ts";
import { sinkCrash } from "./sink-crash.ts";

type Case = { readonly doc: string; readonly run: (options: E2eOptions) => Promise<Outcome> };

const CASES: Readonly<Record<string, Case>> = {
  crash: { doc: "kill -9 of engine, transform, gateway and load in turn under load (cluster)", run: crash },
  "sink-crash": { doc: "load killed, and its session ended, in the middle of a sink transaction (cluster)", run: sinkCrash },
  drain: { doc: "SIGTERM under load and a start after it (solo and cluster)", run: drain },
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    kills: { type: "string", default: "20" },
    rate: { type: "string", default: "500" },
    seconds: { type: "string" },
    seed: { type: "string", default: "1" },
    postgres: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

const HELP = `npm run e2e -- [case ...] [options]

Cases (default: all):
${Object.entries(CASES)
  .map(([name, { doc }]) => `  ${name.padEnd(12)} ${doc}`)
  .join("\n")}

Options:
  --kills N      of crash; default 20
  --rate N       events per second; default 500
  --seconds N    over which the kills are spread; default 2 per kill
  --seed N       of the moments of the kills; default 1
  --postgres     crash kills a backend of Postgres too, so that the server recovers
`;

const unknown = positionals.filter((name) => CASES[name] === undefined);
if (values.help || unknown.length > 0) {
  process.stdout.write(unknown.length > 0 ? `unknown ${unknown.join(", ")}\n\n${HELP}` : HELP);
  process.exitCode = unknown.length > 0 ? 2 : 0;
} else {
  const kills = Number(values.kills);
  const options: E2eOptions = {
    kills,
    ratePerSecond: Number(values.rate),
    seconds: Number(values.seconds ?? kills * 2),
    seed: Number(values.seed),
    withPostgres: values.postgres,
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
