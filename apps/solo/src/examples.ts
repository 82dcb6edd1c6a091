/** The example pipelines and their lookup lists, applied like anybody else's: through control, with tests and checks. What is there already is left alone. */
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { LookupServiceDefinition, PipelineServiceDefinition } from "@onedata/contracts";
import { OneDataError } from "@onedata/core";
import { type Client, type Identity, type Logger, sleep } from "@onedata/mesh";

const FOLDER = fileURLToPath(new URL("../../../examples", import.meta.url));

export type ExamplePorts = {
  readonly pipelines: Client<typeof PipelineServiceDefinition>;
  readonly lookups: Client<typeof LookupServiceDefinition>;
  readonly identity: Identity;
  readonly log: Logger;
  readonly signal: AbortSignal;
};

/** Services start beside control: on a busy machine it hears only after a while what they can do. */
const SERVICES_START_MS = 60_000;
const LOOK_MS = 500;

/** A broken example is logged, never fatal: the product runs without it. */
export async function applyExamples({ pipelines, lookups, identity, log, signal }: ExamplePorts): Promise<void> {
  const endMs = performance.now() + SERVICES_START_MS;
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
    const apply = async (): Promise<void> => {
      while (!signal.aborted) {
        try {
          await pipelines.applyPipeline({ pipeline, document: readFileSync(file, "utf8"), mediaType: "application/yaml" }, { identity });
          return;
        } catch (error) {
          const isStarting = OneDataError.from(error).violations.some(({ code }) => code === "spec.unknown_operation");
          if (!isStarting || performance.now() > endMs) throw error;
          await sleep(LOOK_MS, signal);
        }
      }
    };
    await attempt(`pipeline ${pipeline}`, log, apply);
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
