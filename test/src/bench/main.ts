/** `npm run bench`: how fast, at what cost, beside a ruler measured in the same minutes. `--help` lists cases and options. */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import type { Profile } from "../world/world.ts";
import { broker } from "./broker.ts";
import type { BenchOptions, Case } from "./case.ts";
import { CASES } from "./cases.ts";
import type { Figures, Settings } from "./figures.ts";
import type { SinkKind } from "./pipelines.ts";
import { describeFigures } from "./report.ts";
import { telemetry } from "./telemetry.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    profile: { type: "string" },
    seconds: { type: "string" },
    connections: { type: "string", default: "64" },
    records: { type: "string" },
    sink: { type: "string", default: "postgres.upsert" },
    quick: { type: "boolean", default: false },
    double: { type: "boolean", default: false },
    json: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

/** Only when asked for by name. */
const BY_NAME = {
  broker: {
    doc: "a million messages; --records events through a broker; its cost beside none (cluster; NATS, KUBEMQ_SERVER, --double); only by name",
    run: broker,
  },
  telemetry: { doc: "open with no traces, and with 1 %, 10 % and all requests sampled; only by name", run: telemetry },
};
const cases: Readonly<Record<string, Case>> = { ...CASES, ...BY_NAME };
const HELP = `npm run bench -- [case ...] [options]

Cases (default: all but broker and telemetry; echo, the ruler, always runs first):
${Object.entries(cases)
  .map(([name, { doc }]) => `  ${name.padEnd(12)} ${doc}`)
  .join("\n")}

Options:
  --profile solo|cluster   default: both
  --seconds N              measured seconds of each sending case, after a warm-up; default 15
  --connections N          of the sender in a closed loop; default 64
  --records N              of import, backlog and fairness; default 1000000
  --sink KIND              postgres.upsert (default) or onedata.outputs
  --double                 broker measures KubeMQ's double too, which says nothing about KubeMQ
  --quick                  3 seconds, 50000 records
  --json FILE              the figures as JSON as well; - prints them instead of the tables
`;

if (values.help) {
  process.stdout.write(HELP);
} else {
  process.exitCode = await bench();
}

async function bench(): Promise<number> {
  const profiles = toProfiles(values.profile);
  const sink: SinkKind | undefined = values.sink === "postgres.upsert" || values.sink === "onedata.outputs" ? values.sink : undefined;
  const unknown = positionals.filter((name) => cases[name] === undefined);
  if (profiles === undefined || sink === undefined || unknown.length > 0) {
    process.stderr.write(
      `unknown ${[...unknown, ...(profiles === undefined ? ["profile"] : []), ...(sink === undefined ? ["sink"] : [])].join(", ")}\n\n${HELP}`,
    );
    return 2;
  }
  const options = {
    seconds: Number(values.seconds ?? (values.quick ? 3 : 15)),
    warmUpSeconds: values.quick ? 2 : 5,
    connections: Number(values.connections),
    records: Number(values.records ?? (values.quick ? 50_000 : 1_000_000)),
    sink,
    withDouble: values.double,
  };
  const figures: Figures[] = [];
  let settings: Settings | undefined;
  let failed = 0;
  const attempt = async (name: string, caseOptions: BenchOptions): Promise<void> => {
    process.stderr.write(`${name} (${caseOptions.profile}) ...\n`);
    try {
      const result = await cases[name]?.run(caseOptions);
      if (result === undefined) return;
      figures.push(...[result.figures].flat());
      settings ??= result.settings;
    } catch (error) {
      failed += 1;
      process.stderr.write(`${name} (${caseOptions.profile}) failed: ${error instanceof Error ? error.message : String(error)}\n`);
    }
  };
  const names = (positionals.length === 0 ? Object.keys(CASES) : positionals).filter((name) => name !== "echo");
  await attempt("echo", { ...options, profile: "solo" });
  for (const profile of profiles)
    for (const name of names) {
      // Two engines, and a broker, are a matter of the cluster alone.
      if ((name === "two-engines" || name === "broker") && profile === "solo" && profiles.length > 1) continue;
      await attempt(name, { ...options, profile });
    }
  const json = JSON.stringify({ settings, cases: figures }, null, 2);
  if (values.json !== undefined && values.json !== "-") writeFileSync(values.json, `${json}\n`);
  process.stdout.write(values.json === "-" ? `${json}\n` : `${describeFigures(figures, settings)}\n`);
  return failed === 0 ? 0 : 1;
}

function toProfiles(text: string | undefined): readonly Profile[] | undefined {
  if (text === undefined) return ["solo", "cluster"];
  return text === "solo" || text === "cluster" ? [text] : undefined;
}
