/**
 * From a spec's text to a plan, or every problem at once, each with its JSON Pointer and line.
 * Checks the text, the shape, variables, names and configs against the catalogue, expressions and schemas, connections, and sinks and lookups against the real thing.
 * Non-duty: running its tests, storing it.
 */
import { createHash } from "node:crypto";
import {
  type Catalogue,
  type CatalogueEntry,
  canonicalJson,
  ENGINE,
  type Json,
  type JsonObject,
  OneDataError,
  type PipelineSpec,
  type Plan,
  type PlanStep,
  planPipeline,
  readSpec,
  type Violation,
} from "@onedata/core";
import { stringifyJson } from "@onedata/formats";
import { checkConfig, compileExpression, declaredMembers, schemaProblems, warnExpressions } from "@onedata/operations";
import type { StepProblem } from "../services/step-checker.ts";
import { readDocument, type SpecDocument, type SpecProblem } from "./document.ts";
import { findOpenSecrets } from "./open-secrets.ts";
import { resolveVariables } from "./variables.ts";

export type SpecToCheck = { readonly pipeline: string; readonly document: string; readonly mediaType: string; readonly fuse?: boolean };

export type SpecSurroundings = {
  readonly variables: Readonly<Record<string, string>>;
  /** Gets the names that the spec uses. */
  readonly catalogue: (wanted: readonly string[]) => Promise<Catalogue>;
  /** Names of services that did not answer, for the message about an unknown operation. */
  readonly unreachable: () => readonly string[];
  readonly isConnection: (name: string) => Promise<boolean>;
  readonly isLookup: (name: string) => Promise<boolean>;
  /** Problems with pointers into the sink's config. Throws when it cannot be checked now. Absent = sinks are not used, so not checked. */
  /** The same for a step that names a connection; a problem may be a warning. */
  readonly checkStep?: (step: PlanStep, service: string) => Promise<readonly StepProblem[]>;
  readonly checkSink?: (sink: {
    readonly kind: string;
    readonly service: string;
    readonly config: Json;
    readonly connection: string | undefined;
  }) => Promise<readonly Violation[]>;
};

export type CheckedSpec = {
  readonly spec: PipelineSpec;
  readonly plan: Plan;
  /** The spec with its variables put in. */
  readonly value: Json;
  readonly specJson: string;
  readonly planJson: string;
  /** SHA-256 of the canonical spec, in hex. */
  readonly hash: string;
  readonly warnings: readonly SpecProblem[];
  readonly catalogue: Catalogue;
};

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** Throws `pipeline.invalid` with all problems. `fuse: false` gives every step a stage of its own, for those who look at each. */
export async function checkSpec({ pipeline, document: text, mediaType, fuse = true }: SpecToCheck, around: SpecSurroundings): Promise<CheckedSpec> {
  const document = readDocument(text, mediaType);
  if (document.value === undefined) throw invalid(pipeline, document.problems);
  const resolved = resolveVariables(document.value, around.variables);
  const { spec, violations: shape } = readSpec(resolved.value);
  if (spec === undefined) throw invalid(pipeline, withLines(document, [...resolved.violations, ...shape]));

  const violations: Violation[] = [...resolved.violations];
  if (spec.name !== pipeline)
    violations.push({
      pointer: "/name",
      code: "spec.name",
      detail: `is ${JSON.stringify(spec.name)}, but the request is for ${JSON.stringify(pipeline)}; they must be equal`,
    });
  violations.push(
    ...checkInput(spec),
    ...spec.steps.flatMap((step, i) => (step.when === undefined ? [] : checkExpression(`/steps/${i}/when`, step.when))),
  );
  const catalogue = await around.catalogue([...spec.steps, ...spec.sinks].map(({ use }) => use));
  const planned = planPipeline(spec, catalogue, { hash: sha256, checkConfig: checkEntryConfig, fuse });
  violations.push(...planned.violations);
  const openSecrets = findOpenSecrets(spec);
  violations.push(...openSecrets.refused);
  violations.push(...(await checkConnections(spec, around)));
  const { plan } = planned;
  if (plan === undefined || violations.length > 0) {
    const down = around.unreachable();
    const hint =
      down.length > 0 && violations.some((v) => v.code === "spec.unknown_operation") ? `; services that do not answer now: ${down.join(", ")}` : "";
    throw invalid(pipeline, withLines(document, violations), hint);
  }
  const warnings: SpecProblem[] = withLines(document, [
    ...warnOfExpressions(spec, catalogue),
    ...(await warnOfLookups(spec, around)),
    ...openSecrets.warnings,
  ]);
  for (const { at, problems, unchecked } of await checkSteps(plan, around)) {
    const placed = problems.map((v) => ({ ...v, pointer: `${at}/with${v.pointer}` }));
    violations.push(...placed.filter(({ warning }) => !warning).map(toViolation));
    warnings.push(...withLines(document, placed.filter(({ warning }) => warning).map(toViolation)));
    if (unchecked !== undefined)
      warnings.push({
        pointer: at,
        code: "step.unchecked",
        detail: `what the step looks into could not be checked: ${unchecked}`,
        line: document.lineOf(at),
      });
  }
  const sinkProblems = await Promise.all(plan.sinks.map(async (sink, i) => ({ i, ...(await tryCheckSink(sink, around)) })));
  for (const { i, problems, unchecked } of sinkProblems) {
    violations.push(...problems.map((v) => ({ ...v, pointer: `/sinks/${i}/with${v.pointer}` })));
    if (unchecked !== undefined)
      warnings.push({
        pointer: `/sinks/${i}`,
        code: "sink.unchecked",
        detail: `the sink could not be checked: ${unchecked}`,
        line: document.lineOf(`/sinks/${i}`),
      });
  }
  if (violations.length > 0) throw invalid(pipeline, withLines(document, violations));
  return {
    spec,
    plan,
    value: resolved.value,
    specJson: stringifyJson(resolved.value),
    // A plan is JSON whose parts are typed more closely.
    planJson: stringifyJson(toJson(plan)),
    hash: sha256(canonicalJson(resolved.value)),
    warnings,
    catalogue,
  };
}

/** A plan has only JSON in it, exact numbers included; absent members are left out. */
export function toJson(value: unknown): Json {
  if (Array.isArray(value)) return value.map(toJson);
  if (typeof value !== "object" || value === null || "toDouble" in value) return value as Json; // a scalar or an ExactNumber: JSON already
  return Object.fromEntries(Object.entries(value).flatMap(([name, member]) => (member === undefined ? [] : [[name, toJson(member)]])));
}

function checkInput(spec: PipelineSpec): Violation[] {
  const { schema, ordering } = spec.input;
  const problems = schema === undefined ? [] : schemaProblems(schema).map((v) => ({ ...v, pointer: `/input/schema${v.pointer}` }));
  return [...problems, ...(ordering === undefined ? [] : checkExpression("/input/ordering", ordering))];
}

function checkExpression(pointer: string, source: string): Violation[] {
  try {
    compileExpression(source);
    return [];
  } catch (error) {
    return [{ pointer, code: "expression.invalid", detail: OneDataError.from(error).message }];
  }
}

function checkEntryConfig(entry: CatalogueEntry, config: JsonObject): readonly Violation[] {
  try {
    return checkConfig(entry.description, config);
  } catch (error) {
    return [
      {
        pointer: "",
        code: "contract.breach",
        detail: `service ${entry.service} describes ${entry.description.name} with a config schema that cannot be used: ${OneDataError.from(error).message}`,
      },
    ];
  }
}

/** Steps that read the input know its members, later ones do not. */
function warnOfExpressions(spec: PipelineSpec, catalogue: Catalogue): Violation[] {
  const members = declaredMembers(spec.input.schema);
  return spec.steps.flatMap((step, i) => {
    const entry = catalogue.get(step.use);
    const readsInput = step.needs === undefined ? i === 0 : step.needs.length === 0;
    if (entry === undefined) return [];
    return warnExpressions(entry.description, step.with, readsInput ? members : undefined).map((v) => ({
      ...v,
      pointer: `/steps/${i}/with${v.pointer}`,
    }));
  });
}

/** A list may be uploaded later: records that come before it wait or die as the step says. */
async function warnOfLookups(spec: PipelineSpec, around: SpecSurroundings): Promise<Violation[]> {
  const found = await Promise.all(
    spec.steps.map(async ({ use, with: config }, i): Promise<Violation[]> => {
      const table = config["table"];
      if (use !== "enrich.lookup" || typeof config["connection"] === "string" || typeof table !== "string" || (await around.isLookup(table)))
        return [];
      return [
        {
          pointer: `/steps/${i}/with/table`,
          code: "lookup.not_found",
          detail: `there is no lookup table ${JSON.stringify(table)} yet; upload it with PUT /v1/lookups/${table}`,
        },
      ];
    }),
  );
  return found.flat();
}

async function checkConnections(spec: PipelineSpec, around: SpecSurroundings): Promise<Violation[]> {
  const places = [
    ...spec.steps.map((step, i) => ({ list: "steps", i, config: step.with })),
    ...spec.sinks.map((sink, i) => ({ list: "sinks", i, config: sink.with })),
  ];
  const found = await Promise.all(
    places.map(async ({ list, i, config }): Promise<Violation[]> => {
      const name = config["connection"];
      if (typeof name !== "string" || (await around.isConnection(name))) return [];
      return [
        {
          pointer: `/${list}/${i}/with/connection`,
          code: "connection.not_found",
          detail: `no connection ${JSON.stringify(name)}; create it with PUT /v1/connections/${name}`,
        },
      ];
    }),
  );
  return found.flat();
}

type CheckedStep = { readonly at: string; readonly problems: readonly StepProblem[]; readonly unchecked?: string };

async function checkSteps(plan: Plan, { checkStep }: SpecSurroundings): Promise<readonly CheckedStep[]> {
  if (checkStep === undefined) return [];
  const named = plan.stages.flatMap(({ service, steps }) =>
    steps.filter(({ connection }) => connection !== undefined).map((step) => ({ service, step })),
  );
  return Promise.all(
    named.map(async ({ service, step }): Promise<CheckedStep> => {
      const at = `/steps/${step.index}`;
      try {
        return { at, problems: await checkStep(step, service) };
      } catch (error) {
        const { row, code, message } = OneDataError.from(error);
        return row.retry === "never"
          ? { at, problems: [{ pointer: "/connection", code, detail: message, warning: false }] }
          : { at, problems: [], unchecked: message };
      }
    }),
  );
}

const toViolation = ({ pointer, code, detail }: StepProblem): Violation => ({ pointer, code, detail });

async function tryCheckSink(sink: Plan["sinks"][number], around: SpecSurroundings): Promise<{ problems: readonly Violation[]; unchecked?: string }> {
  if (sink.service === ENGINE || around.checkSink === undefined) return { problems: [] };
  try {
    return { problems: await around.checkSink({ kind: sink.kind, service: sink.service, config: sink.config, connection: sink.connection }) };
  } catch (error) {
    const known = OneDataError.from(error);
    if (known.row.retry === "never")
      return { problems: known.violations.length > 0 ? known.violations : [{ pointer: "", code: known.code, detail: known.message }] };
    return { problems: [], unchecked: known.message };
  }
}

const withLines = (document: SpecDocument, violations: readonly Violation[]): SpecProblem[] =>
  violations.map((v) => ({ ...v, line: document.lineOf(v.pointer) }));

function invalid(pipeline: string, problems: readonly SpecProblem[], hint = ""): OneDataError {
  const [first] = problems;
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : "";
  const where =
    first === undefined
      ? ""
      : `${first.line > 0 ? `line ${first.line}, ` : ""}${first.pointer === "" ? "the document" : first.pointer}: ${first.detail}`;
  return new OneDataError(
    "pipeline.invalid",
    `the spec of ${JSON.stringify(pipeline)} has ${problems.length} ${problems.length === 1 ? "problem" : "problems"}: ${where}${more}${hint}`,
    {
      violations: problems.map(({ pointer, code, detail, line }) => ({ pointer, code, detail: line > 0 ? `line ${line}: ${detail}` : detail })),
    },
  );
}
