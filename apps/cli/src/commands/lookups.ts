/** `lookups`: lists for enrich.lookup. */
import type { Lookup } from "@onedata/contracts";
import type { JsonObject } from "@onedata/core";
import type { Command } from "commander";
import { segment } from "../api/api.ts";
import { cell, number, objects, plural, type Row, time } from "../output/cells.ts";
import type { OpenSession } from "../session.ts";
import { readInput } from "./arguments.ts";

const at = (name: string): string => `/v1/lookups/${segment(name)}`;

export function addLookupCommands(program: Command, open: OpenSession): void {
  const family = program.command("lookups").description("lists for enrich.lookup");
  family
    .command("list", { isDefault: true })
    .description("every list, without its rows")
    .addHelpText("after", "\nExample:\n  onedata lookups list")
    .action(async (_options: object, command: Command) => {
      const { api, out } = open(command);
      const { lookups } = await api().get("/v1/lookups");
      await out.table<Row<Lookup> & JsonObject>(
        objects(lookups),
        [
          { head: "LOOKUP", of: ({ name }) => cell(name), paint: out.style.bold },
          { head: "ROWS", of: ({ rows }) => number(rows), align: "right" },
          { head: "CHANGED", of: ({ updatedAt }) => time(updatedAt) },
          { head: "COLUMNS", of: ({ columns }) => cell(columns) },
        ],
        "no lookups",
      );
    });
  family
    .command("put <name> <file>")
    .description("upload a list as CSV or as a JSON array of objects; replaces it as a whole")
    .addHelpText("after", "\nExample:\n  onedata lookups put us-states examples/lookups/us-states.csv")
    .action(async (name: string, file: string, _options: object, command: Command) => {
      const session = open(command);
      const content = await readInput(file, session.terminal);
      const first = content.toString("latin1", 0, 100).trimStart()[0];
      const mediaType = first === "[" || file.endsWith(".json") ? "application/json" : "text/csv";
      const answer: Row<Lookup> & JsonObject = await session.api().call("PUT", at(name), { content: { data: content, mediaType } });
      if (session.out.isJson) return session.out.json(answer);
      await session.out.line(
        `${session.out.style.bold(name)} has ${typeof answer.rows === "number" ? plural(answer.rows, "row") : "rows"}: ${cell(answer.columns)}`,
      );
    });
  family
    .command("delete <name>")
    .description("remove a list")
    .addHelpText("after", "\nExample:\n  onedata lookups delete us-states")
    .action(async (name: string, _options: object, command: Command) => {
      const { api, out } = open(command);
      await api().call("DELETE", at(name));
      out.note(`${name} is deleted`);
    });
}
