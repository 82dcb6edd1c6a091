/** The example pipelines and their lookup lists, applied like anybody else's: through control, with tests and checks. What is there already is left alone. */
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { LookupServiceDefinition, PipelineServiceDefinition } from "@onedata/contracts";
import { OneDataError } from "@onedata/core";
import type { Client, Identity, Logger } from "@onedata/mesh";

const FOLDER = fileURLToPath(new URL("../../../examples", import.meta.url));

export type ExamplePorts = {
  readonly pipelines: Client<typeof PipelineServiceDefinition>;
  readonly lookups: Client<typeof LookupServiceDefinition>;
  readonly identity: Identity;
  readonly log: Logger;
};

/** A broken example is logged, never fatal: the product runs without it. */
export async function applyExamples({ pipelines, lookups, identity, log }: ExamplePorts): Promise<void> {
  const known = new Set((await pipelines.listPipelines({ pageSize: 1000 }, { identity })).pipelines.map(({ name }) => name));
  const lists = new Set((await lookups.listLookups({}, { identity })).lookups.map(({ name }) => name));
  for (const file of filesOf("lookups", ".csv")) {
    const lookup = basename(file, ".csv");
    if (!lists.has(lookup))
      await attempt(`lookup ${lookup}`, log, () => lookups.putLookup({ lookup, content: readFileSync(file), mediaType: "text/csv" }, { identity }));
  }
  for (const file of filesOf(".", ".yaml")) {
    const pipeline = basename(file, ".yaml");
    if (known.has(pipeline)) continue;
    await attempt(`pipeline ${pipeline}`, log, () =>
      pipelines.applyPipeline({ pipeline, document: readFileSync(file, "utf8"), mediaType: "application/yaml" }, { identity }),
    );
  }
}

const filesOf = (folder: string, extension: string): string[] =>
  readdirSync(join(FOLDER, folder))
    .filter((name) => name.endsWith(extension))
    .sort()
    .map((name) => join(FOLDER, folder, name));

async function attempt(what: string, log: Logger, apply: () => Promise<unknown>): Promise<void> {
  try {
    await apply();
  } catch (error) {
    const { message, violations } = OneDataError.from(error);
    log.warn(`example ${what} was not applied: ${message}`, { violations });
  }
}
