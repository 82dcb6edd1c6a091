/** `operations`: what pipelines can be made of. */
import type { CatalogEntry, transformV1 } from "@onedata/contracts";
import { isJsonObject, type Json, type JsonObject } from "@onedata/core";
import { parseJson } from "@onedata/formats";
import type { Command } from "commander";
import { segment } from "../api/api.ts";
import { cell, compact, objects, type Row } from "../output/cells.ts";
import type { Printer } from "../output/printer.ts";
import type { OpenSession } from "../session.ts";

type Operation = Row<transformV1.Operation>;

export function addCatalogueCommands(program: Command, open: OpenSession): void {
  program
    .command("operations [operation]")
    .description("operations and sinks; with a name, how that one is configured")
    .addHelpText("after", "\nExample:\n  onedata operations record.cast")
    .action(async (name: string | undefined, _options: object, command: Command) => {
      const { api, out } = open(command);
      if (name !== undefined) {
        const entry = await api().get(`/v1/operations/${segment(name)}`);
        return out.isJson ? out.json(entry) : printOperation(out, entry);
      }
      const { operations } = await api().get("/v1/operations");
      await out.table<Row<CatalogEntry> & JsonObject>(
        objects(operations),
        [
          { head: "NAME", of: ({ operation }) => cell(operationOf(operation).name), paint: out.style.bold },
          { head: "KIND", of: ({ kind }) => cell(kind) },
          { head: "SERVICE", of: ({ service }) => cell(service) },
          { head: "WHAT IT DOES", of: ({ operation }) => cell(operationOf(operation).title) },
        ],
        "no operations: no service answers",
      );
    });
}

const operationOf = (value: Json | undefined): Operation => (isJsonObject(value) ? value : {});

async function printOperation(out: Printer, entry: Row<CatalogEntry>): Promise<void> {
  const { style } = out;
  const operation = operationOf(entry.operation);
  await out.line(`${style.bold(cell(operation.name))}  ${cell(operation.title)}  ${style.dim(`${cell(entry.kind)} of ${cell(entry.service)}`)}`);
  await out.line(typeof operation.doc === "string" ? operation.doc : "");
  const schema = typeof operation.configSchema === "string" ? parseJson(operation.configSchema) : operation.configSchema;
  if (!isJsonObject(schema)) return;
  const required = Array.isArray(schema["required"]) ? schema["required"] : [];
  for (const [member, rule] of Object.entries(isJsonObject(schema["properties"]) ? schema["properties"] : {})) {
    const { type, enum: choices, description, default: fallback } = isJsonObject(rule) ? rule : {};
    const kind = choices === undefined ? cell(type) : cell(choices);
    await out.line(
      `  ${style.cyan(member)}${required.includes(member) ? style.red("*") : ""} ${style.dim(kind)}  ${cell(description)}${fallback === undefined ? "" : style.dim(` (default ${compact(fallback)})`)}`,
    );
  }
  for (const example of objects(operation.examples)) await out.line(`${style.dim("example")} ${compact(example)}`);
}
