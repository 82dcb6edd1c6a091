/** `init`: a pipeline to begin with, as a commented spec. It is a valid one: its own tests pass. */
import { existsSync, writeFileSync } from "node:fs";
import type { Command } from "commander";
import { exitCodes, Failure } from "../failure.ts";
import type { OpenSession } from "../session.ts";

export function addInitCommand(program: Command, open: OpenSession): void {
  program
    .command("init [file]")
    .description("write a commented pipeline to begin with")
    .addHelpText("after", "\nExample:\n  onedata init my-pipeline.yaml && onedata test my-pipeline.yaml")
    .action(async (file: string | undefined, _options: object, command: Command) => {
      const { out } = open(command);
      const text = starter(file === undefined ? "my-pipeline" : toName(file));
      if (file === undefined) return out.line(text.trimEnd());
      if (existsSync(file)) throw new Failure(`${file} is there already`, exitCodes.usage);
      writeFileSync(file, text);
      out.note(`${file} is written. Next: onedata test ${file}; then onedata apply ${file}`);
    });
}

function toName(file: string): string {
  const name = file
    .replace(/^.*\//, "")
    .replace(/\..*$/, "")
    .toLowerCase()
    .replaceAll(/[^a-z0-9_-]+/g, "-")
    .slice(0, 63);
  return /^[a-z]/.test(name) ? name : "my-pipeline";
}

const starter = (name: string): string => `name: ${name}
description: What it is for, in a line

# What comes in (optional): JSON Schema. Events that do not fit are refused when they are sent.
# Cells of CSV are texts: for CSV leave the types out here, and begin with the step \`cast\` below.
input:
  schema:
    type: object
    required: [id, price, quantity]
    properties:
      price: { type: number }
      quantity: { type: number }
  # ordering: customer        # events of one customer are processed in the order they came

# Each step reads the one before it, unless it says \`needs: [ids]\`. \`onedata operations\` lists what there is.
steps:
  # - id: cast
  #   use: record.cast
  #   with: { fields: { id: integer, price: number, quantity: number } }
  - id: total
    use: record.map
    with: { set: { total: price * quantity } } # expressions are JSONata
  - id: plausible
    use: record.validate
    with: { schema: { properties: { total: { minimum: 0 } } } } # what does not fit becomes a dead letter
  - id: small
    use: record.filter
    with: { where: total < 1000 }
    when: quantity > 1 # other records bypass the step unchanged

# Where results go. With no sink they are kept in OneData: onedata outputs ${name}
# sinks:
#   - use: postgres.upsert
#     with: { connection: warehouse, table: totals, key: [id] }

# Run before a version is accepted, and by: onedata test <this file>
tests:
  - name: totals an order
    given: [{ id: 1, price: 2, quantity: 3 }]
    expect: [{ id: 1, price: 2, quantity: 3, total: 6 }]
  - name: buries a negative total
    given: [{ id: 2, price: -1, quantity: 3 }]
    expect: []
    dead: 1
`;
