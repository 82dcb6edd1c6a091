/** `npm start`: all of OneData in one process. Prints where it is, the first client, and a curl to paste. */
import { resolve } from "node:path";
import { createLogger, describeConfig, readConfig, runUntilSignal, setting } from "@onedata/mesh";
import { describeReady } from "./describe-ready.ts";
import { runSolo } from "./solo.ts";

const schema = {
  home: setting.text({ doc: "folder that keeps the data, client.json and keys", default: ".onedata" }),
  port: setting.port({ doc: "port of REST and tRPC; 0 takes any free one", default: 8080 }),
  database: setting.text({
    doc: "embedded:, or postgres://… of a database of its own",
    default: "embedded:",
    pattern: /^(embedded:$|postgres(ql)?:\/\/)/,
  }),
  examples: setting.flag({ doc: "apply the example pipelines when they are missing", default: true }),
  allowedAddresses: setting.text({ doc: "private hosts, addresses or CIDR ranges that HTTP sinks may reach, separated by commas", default: "" }),
  logLevel: setting.oneOf(["debug", "info", "warn", "error"], { doc: "what is logged to stderr", default: "warn" }),
};

const argv = process.argv.slice(2);
if (argv.includes("--help")) {
  process.stdout.write(`npm start: OneData in one process, on an embedded Postgres. Settings:\n${describeConfig(schema)}\n`);
} else {
  await runUntilSignal(async (signal) => {
    const config = readConfig(schema, process.env, argv);
    const logger = createLogger({ name: "solo", level: config.logLevel });
    const startedMs = performance.now();
    await runSolo(
      {
        ...config,
        home: resolve(config.home),
        log: logger,
        onReady: (ready) => process.stdout.write(describeReady(ready, performance.now() - startedMs)),
      },
      signal,
    );
  });
}
