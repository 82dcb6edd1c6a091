/** `npm run cluster`: the five machines of OneData as processes on this machine, over gRPC. */
import { resolve } from "node:path";
import { diskSettings } from "@onedata/gateway";
import { createLogger, describeConfig, readConfig, runUntilSignal, setting, telemetrySettings } from "@onedata/mesh";
import { runCluster, type StartedProcess } from "./cluster.ts";
import { describeReady } from "./describe-ready.ts";

const schema = {
  home: setting.text({ doc: "folder that keeps data, logs, client.json and keys", default: ".onedata" }),
  port: setting.port({ doc: "port of REST and tRPC; 0 takes any free one", default: 8080 }),
  database: setting.text({
    doc: "embedded:, or postgres://… of a database of its own",
    default: "embedded:",
    pattern: /^(embedded:$|postgres(ql)?:\/\/)/,
  }),
  engines: setting.integer({ doc: "how many engines", default: 1, min: 1, max: 16 }),
  leaseMs: setting.integer({ doc: "milliseconds after which others take over what a dead engine held", default: 15_000, min: 1_000, max: 600_000 }),
  gateways: setting.integer({ doc: "how many gateways; all but the first at free ports, which their logs name", default: 1, min: 1, max: 16 }),
  broker: setting.secret({ doc: "none:, kubemq://host:50000 or nats://host:4222: what wakes claims; without one engines poll", default: "none:" }),
  examples: setting.flag({ doc: "apply the example pipelines when they are missing", default: true }),
  restart: setting.flag({ doc: "start a process again that ended by itself, instead of ending the cluster", default: false }),
  ...diskSettings,
  // Whoever starts this owns the machine, and tries it with a database beside it. A load service that strangers use begins with nothing allowed.
  allowedDatabaseAddresses: setting.text({
    doc: "hosts, addresses or CIDR ranges beside the public internet that connections to databases may reach; `private` = all private and loopback ones",
    default: "private",
  }),
  allowedAddresses: setting.text({
    doc: "private hosts, addresses or CIDR ranges that HTTP sinks and webhooks may reach, separated by commas",
    default: "",
  }),
  ...telemetrySettings,
  logLevel: setting.oneOf(["debug", "info", "warn", "error"], { doc: "what the processes log, each to its file", default: "info" }),
};

const describeProcess = ({ name, pid, logFile }: StartedProcess): string => `  ${name.padEnd(10)} pid ${String(pid).padEnd(8)} ${logFile}\n`;

/** What the exporter reads by itself: headers, certificates, compression. */
const otelEnvironment = (): Record<string, string> =>
  Object.fromEntries(
    Object.entries(process.env).flatMap(([name, value]) => (name.startsWith("OTEL_") && value !== undefined ? [[name, value]] : [])),
  );

const argv = process.argv.slice(2);
if (argv.includes("--help")) {
  process.stdout.write(`npm run cluster: OneData as separate processes on this machine. Settings:\n${describeConfig(schema)}\n`);
} else {
  await runUntilSignal(
    async (signal) => {
      const config = readConfig(schema, process.env, argv);
      const startedMs = performance.now();
      await runCluster(
        {
          ...config,
          home: resolve(config.home),
          environment: { PATH: process.env["PATH"] ?? "", ...otelEnvironment() },
          log: createLogger({ name: "cluster" }),
          onReady: (ready) => {
            const processes = ready.processes.map(describeProcess).join("");
            process.stdout.write(`${describeReady(ready, performance.now() - startedMs)}\nProcesses:\n${processes}`);
          },
          onRestart: (started) => void process.stdout.write(describeProcess(started)),
        },
        signal,
      );
    },
    { graceMs: 120_000 },
  );
}
