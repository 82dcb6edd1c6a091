/** `usage`: what the tenant holds on disk and in the queue. */
import type { Usage, UsageDay } from "@onedata/contracts";
import type { Json, JsonObject } from "@onedata/core";
import type { Command } from "commander";
import { bytes, cell, number, objects, plural, type Row, time } from "../output/cells.ts";
import type { OpenSession } from "../session.ts";

export function addUsageCommand(program: Command, open: OpenSession): void {
  program
    .command("usage")
    .description("what the tenant holds, by day, and what waits")
    .addHelpText("after", "\nExample:\n  onedata usage --json | jq .eventBytes")
    .action(async (_options: object, command: Command) => {
      const { api, out } = open(command);
      const usage: Row<Usage> & JsonObject = await api().get("/v1/tenant/usage");
      if (out.isJson) return out.json(usage);
      const { style } = out;
      const line = (name: string, text: string): Promise<void> => out.line(`${style.dim(name.padEnd(13))} ${text}`);
      await line(
        "stored",
        `${plural(count(usage.events), "event")}, ${size(usage.eventBytes)}${usage.oldestAt === undefined ? "" : `, the oldest of ${time(usage.oldestAt)}`}`,
      );
      await line("outputs", size(usage.outputBytes));
      await line("waiting", `${plural(count(usage.backlogEvents), "event")}, ${size(usage.backlogBytes)}`);
      await line("dead letters", `${number(usage.openDeadLetters ?? 0)} open`);
      if (isPositive(usage.databaseBytes)) await line("database", size(usage.databaseBytes));
      if (isPositive(usage.diskFreeBytes)) await line("disk free", size(usage.diskFreeBytes));
      const days = objects(usage.days);
      if (days.length === 0) return;
      await out.line("");
      await out.table<Row<UsageDay> & JsonObject>(
        days,
        [
          { head: "DAY", of: ({ day }) => cell(day) },
          { head: "EVENTS", of: ({ events }) => number(events), align: "right" },
          { head: "BYTES", of: (day) => size(day.bytes), align: "right" },
        ],
        "",
      );
    });
}

const count = (value: Json | undefined): number => (typeof value === "number" ? value : 0);
const size = (value: Json | undefined): string => bytes(count(value));
const isPositive = (value: Json | undefined): boolean => typeof value === "number" && value > 0;
