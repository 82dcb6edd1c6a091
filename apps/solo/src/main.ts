/** `npm start`: all of OneData in one process. Prints where it is, the first client, and a curl to paste. */
import { resolve } from "node:path";
import { diskSettings } from "@onedata/gateway";
import { createLogger, describeConfig, readConfig, runUntilSignal, setting, telemetrySettings } from "@onedata/mesh";
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
  broker: setting.secret({ doc: "none:, kubemq://host:50000 or nats://host:4222: what wakes claims; without one engines poll", default: "none:" }),
  examples: setting.flag({ doc: "apply the example pipelines when they are missing", default: true }),
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
  retentionDays: setting.integer({
    doc: "days that events, runs and outputs are kept at most; tenants may keep less",
    default: 7,
    min: 1,
    max: 3650,
  }),
  deadLetterRetentionDays: setting.integer({ doc: "days that dead letters are kept at most", default: 30, min: 1, max: 3650 }),
  ...telemetrySettings,
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
