/** `file.csv`: results as CSV files, written by the exporter from the outputs of completed events. */
import { configViolations } from "../config-reader.ts";
import { csvConfigSchema, readFileConfig } from "../file/file-config.ts";
import type { Sink } from "../sink.ts";

export const fileCsv: Sink = {
  description: {
    name: "file.csv",
    title: "CSV files",
    doc: "Writes results as CSV files (RFC 4180) under the tenant's folder. Without `columns` the members of a file's first record are its columns; members without a column are left out, and a result that is no object is the column `value`. With `columns`, a result that has none of them is a dead letter; without, it is an empty row of a file whose first record had others, so name the columns where records differ. Numbers keep every digit; objects and arrays are written as JSON; null is an empty field and empty text is `\"\"`. Each event takes effect once.",
    shape: "map",
    effects: "write",
    configSchema: csvConfigSchema,
    examples: [
      {
        name: "columns in order",
        config: { path: "exports/orders", columns: ["id", "price"] },
        input: { price: 2.5, id: 1 },
        outputs: [{ price: 2.5, id: 1 }],
      },
    ],
  },
  handledBy: "engine",
  check: ({ config }) => Promise.resolve(configViolations(() => readFileConfig("file.csv", config))),
};
