/** `dead-letters`: what could not be processed, by cause and one by one. */
import type { DeadLetter, DeadLetterGroup } from "@onedata/contracts";
import { isJsonObject, type JsonObject } from "@onedata/core";
import { type Command, Option } from "commander";
import { cell, compact, isText, number, type Row, time } from "../output/cells.ts";
import { paintState } from "../output/style.ts";
import type { OpenSession } from "../session.ts";
import { toCount } from "./arguments.ts";

type ListOptions = { readonly limit: number; readonly state?: string; readonly fingerprint?: string };

export function addDeadLetterCommands(program: Command, open: OpenSession): void {
  const family = program.command("dead-letters").description("events that could not be processed");
  family
    .command("groups [pipeline]", { isDefault: true })
    .description("open dead letters by cause, largest first")
    .addHelpText("after", "\nExample:\n  onedata dead-letters groups movies")
    .action(async (pipeline: string | undefined, _options: object, command: Command) => {
      const { api, out } = open(command);
      const { groups } = await api().get("/v1/dead-letters:groups", { pipeline });
      await out.table<Row<DeadLetterGroup> & JsonObject>(
        Array.isArray(groups) ? groups.filter(isJsonObject) : [],
        [
          { head: "COUNT", of: ({ count }) => number(count), align: "right" },
          { head: "PIPELINE", of: ({ pipeline: name }) => cell(name) },
          { head: "AT", of: ({ step }) => cell(step) },
          { head: "CODE", of: ({ code }) => cell(code), paint: out.style.red },
          { head: "LAST SEEN", of: ({ lastSeenAt }) => time(lastSeenAt) },
          { head: "FINGERPRINT", of: ({ fingerprint }) => cell(fingerprint) },
          { head: "EXAMPLE", of: ({ example }) => (isJsonObject(example) ? cell(example["message"]) : "") },
        ],
        "no open dead letters",
      );
    });
  family
    .command("list [pipeline]")
    .description("dead letters, newest first")
    .addOption(new Option("--state <state>", "only these").choices(["open", "replaying", "replayed", "discarded"]))
    .option("--fingerprint <fingerprint>", "only of this cause (see groups)")
    .option("--limit <n>", "at most", toCount, 20)
    .addHelpText("after", "\nExample:\n  onedata dead-letters list movies --limit 100 --json | jq .payload")
    .action(async (pipeline: string | undefined, { limit, ...filter }: ListOptions, command: Command) => {
      const { api, out } = open(command);
      const letters = await api().list("/v1/dead-letters", "deadLetters", { limit, query: { pipeline, ...filter } });
      await out.table<Row<DeadLetter> & JsonObject>(
        letters,
        [
          { head: "EVENT", of: ({ event }) => cell(event) },
          { head: "PIPELINE", of: ({ pipeline: name }) => cell(name) },
          { head: "AT", of: ({ step, sink }) => (isText(step) ? step : cell(sink)) },
          { head: "CODE", of: ({ code }) => cell(code), paint: out.style.red },
          { head: "STATE", of: ({ state }) => cell(state), paint: (text) => paintState(text, out.style) },
          { head: "WHEN", of: ({ createdAt }) => time(createdAt) },
          { head: "MESSAGE", of: ({ message, payload }) => `${cell(message)}  ${compact(payload)}` },
        ],
        "no such dead letters",
      );
    });
}
