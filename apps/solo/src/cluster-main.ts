/** `npm run cluster`: the five machines of OneData as processes on this machine, over gRPC. */
import { resolve } from "node:path";
import { createLogger, describeConfig, readConfig, runUntilSignal, setting } from "@onedata/mesh";
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
  examples: setting.flag({ doc: "apply the example pipelines when they are missing", default: true }),
  restart: setting.flag({ doc: "start a process again that ended by itself, instead of ending the cluster", default: false }),
  allowedAddresses: setting.text({ doc: "private hosts, addresses or CIDR ranges that HTTP sinks may reach, separated by commas", default: "" }),
  logLevel: setting.oneOf(["debug", "info", "warn", "error"], { doc: "what the processes log, each to its file", default: "info" }),
};

const describeProcess = ({ name, pid, logFile }: StartedProcess): string => `  ${name.padEnd(10)} pid ${String(pid).padEnd(8)} ${logFile}\n`;

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
          environment: { PATH: process.env["PATH"] ?? "" },
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
