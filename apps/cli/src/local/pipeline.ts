/**
 * A pipeline from its spec file, with no server: checked as the control plane checks it, run by the executor and the operations that the engine uses.
 * Sinks are known by name and config, never opened. Lookups read connections whose URL is given. Operations of other services are not here.
 */
import { readFileSync } from "node:fs";
import { TransformServiceDefinition, type transformV1 } from "@onedata/contracts";
import { type CheckedSpec, checkSpec, readDocument } from "@onedata/control";
import { type Catalogue, type CatalogueEntry, isJsonObject, type LabDeps, type LabSubject, OneDataError, type StageInput } from "@onedata/core";
import { parseJson, stringifyJson } from "@onedata/formats";
import { bySharedSecret, createClient, createInprocDirectory, createServiceHost, openTransport } from "@onedata/mesh";
import { compileSchema, createEvaluateWhen, operations, type SchemaCheck } from "@onedata/operations";
import { createSinks } from "@onedata/sinks";
import { createPostgresLookups } from "@onedata/sinks/lookup";
import { createTransformService, TRANSFORM } from "@onedata/transform";
import { openLookupFiles } from "./lookup-files.ts";

export type LocalOptions = {
  readonly lookups: Readonly<Record<string, string>>;
  /** URLs by name. */
  readonly connections: Readonly<Record<string, string>>;
  readonly variables: Readonly<Record<string, string>>;
};

export interface LocalPipeline extends AsyncDisposable {
  readonly checked: CheckedSpec;
  readonly subject: LabSubject;
  readonly deps: LabDeps;
  /** The gateway refuses what does not fit; so does a run. */
  readonly checkInput: SchemaCheck | undefined;
}

/** Throws `pipeline.invalid` with every problem and its line. */
export async function openLocalPipeline(path: string, { lookups, connections, variables }: LocalOptions): Promise<LocalPipeline> {
  const text = readFileSync(path, "utf8");
  const mediaType = path.endsWith(".json") ? "application/json" : "application/yaml";
  const files = openLookupFiles(lookups, path);
  const databases = createPostgresLookups();
  // One secret for the only caller and the only service, both in here.
  const meshSecret = "one-process-only";
  const directory = createInprocDirectory();
  const serving = directory.serve(
    TRANSFORM,
    createServiceHost({ authenticate: bySharedSecret(meshSecret) }).add(
      TransformServiceDefinition,
      createTransformService({ lookups: () => files, databases }),
    ),
  );
  const transport = await openTransport(`inproc:${TRANSFORM}`, { directory });
  const transform = createClient(TransformServiceDefinition, transport, { caller: "engine", meshSecret });
  const opened: readonly AsyncDisposable[] = [transport, serving, databases];
  const check = (): Promise<CheckedSpec> =>
    checkSpec(
      { pipeline: nameOf(text, mediaType), document: text, mediaType },
      {
        variables,
        catalogue: readCatalogue,
        unreachable: () => [],
        // Those of sinks belong to a server; a run opens none. Those of steps are looked for below.
        isConnection: () => Promise.resolve(true),
        isLookup: (name) => Promise.resolve(files.has(name)),
        checkStep: async ({ operation, config, connection: name = "" }) => {
          const connection = toConnection(connections, name);
          if (connection === undefined) return [{ pointer: "/connection", code: "connection.not_found", detail: noConnection(name), warning: false }];
          return (await transform.checkStep({ operation, configJson: Buffer.from(stringifyJson(config)), connection, tenant: "0" })).problems;
        },
      },
    );
  const checked = await check().catch(async (error: unknown) => {
    await closeAll(opened);
    throw error;
  });
  const { spec, plan } = checked;
  return {
    checked,
    subject: { pipeline: spec.name, version: 0, tenant: "0", plan: withOneSink(plan) },
    deps: {
      evaluateWhen: createEvaluateWhen(),
      monotonicMs: () => performance.now(),
      parse: parseJson,
      stringify: stringifyJson,
      apply: (_service, request) => transform.apply(request),
      connection: async (_tenant, name) => {
        const connection = toConnection(connections, name);
        if (connection === undefined) throw new OneDataError("connection.not_found", noConnection(name));
        return connection;
      },
    },
    checkInput: spec.input.schema === undefined ? undefined : compileSchema(spec.input.schema),
    [Symbol.asyncDispose]: () => closeAll(opened),
  };
}

async function closeAll(opened: readonly AsyncDisposable[]): Promise<void> {
  for (const each of opened) await each[Symbol.asyncDispose]();
}

function toConnection(urls: Readonly<Record<string, string>>, name: string): transformV1.Connection | undefined {
  const url = Object.hasOwn(urls, name) ? urls[name] : undefined;
  return url === undefined ? undefined : { name, kind: "postgres", configJson: Buffer.from(JSON.stringify({ url })) };
}

const noConnection = (name: string): string =>
  `a run without a server has no connection ${JSON.stringify(name)}: say --connection ${name}=postgres://user:password@host:port/database`;

/** Several sinks may read the same results; here each result is shown once. */
function withOneSink(plan: CheckedSpec["plan"]): CheckedSpec["plan"] {
  const [first] = plan.sinks;
  if (first === undefined) return plan;
  return { ...plan, sinks: [{ ...first, inputs: [...new Set<StageInput>(plan.sinks.flatMap(({ inputs }) => inputs))] }] };
}

async function readCatalogue(): Promise<Catalogue> {
  await using sinks = createSinks();
  const entries: CatalogueEntry[] = [
    ...operations.map(({ description }): CatalogueEntry => ({ service: TRANSFORM, kind: "operation", description })),
    ...sinks.describe().map((description): CatalogueEntry => ({ service: "load", kind: "sink", description })),
  ];
  return new Map(entries.map((entry) => [entry.description.name, entry]));
}

function nameOf(text: string, mediaType: string): string {
  const { value } = readDocument(text, mediaType);
  const name = isJsonObject(value) ? value["name"] : undefined;
  return typeof name === "string" ? name : "pipeline";
}
