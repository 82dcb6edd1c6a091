/** Options of the commands that work without a server. */
import type { Command } from "commander";
import { toPairs } from "./arguments.ts";

export type LocalCommandOptions = {
  readonly lookup?: Record<string, string>;
  readonly connection?: Record<string, string>;
  readonly var?: Record<string, string>;
};

export const addLocalOptions = (command: Command): Command =>
  command
    .option("--lookup <name=file>", "a lookup table from CSV or JSON, repeated (default: lookups/<name>.csv beside the spec)", toPairs)
    .option("--connection <name=url>", "postgres://… of a connection that a lookup reads, repeated", toPairs)
    .option("--var <name=value>", "a variable that the spec uses as ${var.name}, repeated", toPairs);

export const toLocalOptions = (options: LocalCommandOptions) => ({
  lookups: options.lookup ?? {},
  connections: options.connection ?? {},
  variables: options.var ?? {},
});
