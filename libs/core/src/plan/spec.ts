/**
 * A pipeline's spec as its author wrote it, read strictly: an unknown member is a problem with its place, never ignored.
 * Reads the shape only; whether operations exist and configs fit is the planner's question (`plan-pipeline.ts`).
 */
import type { Violation } from "../errors/onedata-error.ts";
import { isJsonObject, type Json, type JsonObject, toPointer } from "../json.ts";
import { didYouMean } from "../suggest.ts";

export type StepSpec = {
  readonly id: string;
  readonly use: string;
  readonly with: JsonObject;
  /** `undefined` = the step before it in the document; empty = the input. */
  readonly needs: readonly string[] | undefined;
  readonly when: string | undefined;
  /** How often a record that fails for now is tried again; `undefined` = `DEFAULT_RETRIES`. */
  readonly retries?: number | undefined;
};

export type SinkSpec = {
  readonly id: string;
  readonly use: string;
  readonly with: JsonObject;
  /** `undefined` = the leaves. */
  readonly from: readonly string[] | undefined;
  /** As of a step. */
  readonly retries?: number | undefined;
};

export type TestSpec = {
  readonly name: string;
  readonly given: readonly Json[];
  readonly expect: readonly Json[];
  /** How many of the given records end as dead letters. */
  readonly dead: number;
};

/** When a pipeline pauses itself: of the last 1,000 events of one version and class, more than this share and at least this many died. */
export type SelfPause = { readonly off: boolean; readonly deadShare: number; readonly minimum: number };

export const DEFAULT_SELF_PAUSE: SelfPause = { off: false, deadShare: 0.2, minimum: 200 };

export type PipelineSpec = {
  readonly name: string;
  readonly description: string | undefined;
  readonly input: { readonly schema: JsonObject | undefined; readonly ordering: string | undefined };
  readonly steps: readonly StepSpec[];
  readonly sinks: readonly SinkSpec[];
  readonly tests: readonly TestSpec[];
  /** `undefined` = the default. */
  readonly selfPause: SelfPause | undefined;
};

/** Of a step or a sink that does not say how often a record is tried again. */
export const DEFAULT_RETRIES = 4;
export const MAX_RETRIES = 100;

export const MAX_STEPS = 100;
export const MAX_SINKS = 16;
export const MAX_TESTS = 200;

const NAME = /^[a-z][a-z0-9_-]{0,62}$/;

/** The spec, or every problem of its shape at once. A document with problems has no spec. */
export function readSpec(document: Json): { spec: PipelineSpec | undefined; violations: Violation[] } {
  const reader = new SpecReader();
  const spec = reader.pipeline(document);
  return { spec: reader.violations.length === 0 ? spec : undefined, violations: reader.violations };
}

type Path = readonly (string | number)[];

class SpecReader {
  readonly violations: Violation[] = [];

  pipeline(value: Json): PipelineSpec | undefined {
    if (!isJsonObject(value)) return this.problem([], "spec.type", "a spec is an object with name, steps and sinks");
    this.members([], value, ["name", "description", "input", "steps", "sinks", "tests", "selfPause"]);
    const steps = this.list(["steps"], value["steps"], MAX_STEPS).map((step, i) => this.step(["steps", i], step));
    const sinks = this.list(["sinks"], value["sinks"], MAX_SINKS).map((sink, i) => this.sink(["sinks", i], sink));
    const input = this.object(["input"], value["input"]);
    this.members(["input"], input, ["schema", "ordering"]);
    return {
      name: this.name(["name"], value["name"]),
      description: this.text(["description"], value["description"]),
      input: {
        schema: input["schema"] === undefined ? undefined : this.object(["input", "schema"], input["schema"]),
        ordering: this.text(["input", "ordering"], input["ordering"]),
      },
      steps,
      sinks: withSinkIds(sinks),
      tests: this.list(["tests"], value["tests"], MAX_TESTS).map((test, i) => this.test(["tests", i], test)),
      selfPause: value["selfPause"] === undefined ? undefined : this.selfPause(["selfPause"], value["selfPause"]),
    };
  }

  private step(path: Path, value: Json): StepSpec {
    const step = this.object(path, value);
    this.members(path, step, ["id", "use", "with", "needs", "when", "retries"]);
    return {
      id: this.name([...path, "id"], step["id"]),
      use: this.required([...path, "use"], step["use"], "the operation, e.g. record.map"),
      with: this.object([...path, "with"], step["with"]),
      needs: this.names([...path, "needs"], step["needs"]),
      when: this.text([...path, "when"], step["when"]),
      retries: this.retries([...path, "retries"], step["retries"]),
    };
  }

  private sink(path: Path, value: Json): SinkSpec {
    const sink = this.object(path, value);
    this.members(path, sink, ["id", "use", "with", "from", "retries"]);
    return {
      id: sink["id"] === undefined ? "" : this.name([...path, "id"], sink["id"]),
      use: this.required([...path, "use"], sink["use"], "the kind of sink, e.g. postgres.upsert"),
      with: this.object([...path, "with"], sink["with"]),
      from: this.names([...path, "from"], sink["from"]),
      retries: this.retries([...path, "retries"], sink["retries"]),
    };
  }

  private test(path: Path, value: Json): TestSpec {
    const test = this.object(path, value);
    this.members(path, test, ["name", "given", "expect", "dead"]);
    const dead = test["dead"];
    if (dead !== undefined && !(typeof dead === "number" && Number.isInteger(dead) && dead >= 0)) {
      this.problem([...path, "dead"], "spec.type", "how many of the given records die: a whole number");
    }
    return {
      name: this.required([...path, "name"], test["name"], "a few words"),
      given: this.list([...path, "given"], test["given"], 1000),
      expect: this.list([...path, "expect"], test["expect"], 10_000),
      dead: typeof dead === "number" ? dead : 0,
    };
  }

  private selfPause(path: Path, value: Json): SelfPause {
    const {
      off = DEFAULT_SELF_PAUSE.off,
      deadShare = DEFAULT_SELF_PAUSE.deadShare,
      minimum = DEFAULT_SELF_PAUSE.minimum,
      ...rest
    } = this.object(path, value);
    this.members(path, { off, deadShare, minimum, ...rest }, ["off", "deadShare", "minimum"]);
    if (typeof off !== "boolean") this.problem([...path, "off"], "spec.type", "true switches it off, false leaves it on");
    if (!(typeof deadShare === "number" && deadShare > 0 && deadShare <= 1))
      this.problem([...path, "deadShare"], "spec.type", "a share above 0 and at most 1, e.g. 0.2");
    if (!(typeof minimum === "number" && Number.isInteger(minimum) && minimum >= 1 && minimum <= 1000))
      this.problem([...path, "minimum"], "spec.type", "a whole number from 1 to 1000");
    return { off: off === true, deadShare: Number(deadShare), minimum: Number(minimum) };
  }

  private retries(path: Path, value: Json | undefined): number | undefined {
    if (value === undefined || value === null) return undefined;
    if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= MAX_RETRIES) return value;
    return this.problem(
      path,
      "spec.type",
      `how often a record that fails for now is tried again: a whole number from 0 to ${MAX_RETRIES}; ${DEFAULT_RETRIES} if absent`,
    );
  }

  private problem(path: Path, code: string, detail: string): undefined {
    this.violations.push({ pointer: toPointer(path), code, detail });
    return undefined;
  }

  private members(path: Path, value: JsonObject, known: readonly string[]): void {
    for (const member of Object.keys(value)) {
      if (!known.includes(member))
        this.problem(
          [...path, member],
          "spec.unknown_member",
          `unknown member ${JSON.stringify(member)}${didYouMean(member, known) || ";"} known: ${known.join(", ")}`,
        );
    }
  }

  private object(path: Path, value: Json | undefined): JsonObject {
    if (value === undefined || value === null) return {};
    if (isJsonObject(value)) return value;
    this.problem(path, "spec.type", "must be an object");
    return {};
  }

  private list(path: Path, value: Json | undefined, max: number): readonly Json[] {
    if (value === undefined || value === null) return [];
    if (!Array.isArray(value)) {
      this.problem(path, "spec.type", "must be a list");
      return [];
    }
    if (value.length > max) this.problem(path, "spec.too_many", `has ${value.length} items; at most ${max}`);
    return value.slice(0, max);
  }

  private names(path: Path, value: Json | undefined): readonly string[] | undefined {
    if (value === undefined) return undefined;
    const names = this.list(path, value, MAX_STEPS);
    return names.flatMap((name, i) => {
      if (typeof name === "string") return [name];
      this.problem([...path, i], "spec.type", "must be the id of a step");
      return [];
    });
  }

  private text(path: Path, value: Json | undefined): string | undefined {
    if (value === undefined || value === null) return undefined;
    if (typeof value === "string") return value;
    return this.problem(path, "spec.type", `must be text; put it in quotes`);
  }

  private required(path: Path, value: Json | undefined, what: string): string {
    const text = this.text(path, value);
    if (text === undefined || text === "") this.problem(path, "spec.required", `is missing: ${what}`);
    return text ?? "";
  }

  private name(path: Path, value: Json | undefined): string {
    const name = this.required(path, value, "a name");
    if (name !== "" && !NAME.test(name)) {
      this.problem(path, "spec.name", `${JSON.stringify(name)} is no name: lower-case letters, digits, - and _, starting with a letter, at most 63`);
    }
    return name;
  }
}

/** A sink's id is part of keys and ledgers; without one it is made from the kind: `postgres-upsert`, `postgres-upsert-2`. */
function withSinkIds(sinks: readonly SinkSpec[]): SinkSpec[] {
  const taken = new Set(sinks.map((sink) => sink.id));
  return sinks.map((sink) => {
    if (sink.id !== "") return sink;
    const base = sink.use.replaceAll(".", "-");
    let id = base;
    for (let i = 2; taken.has(id); i++) id = `${base}-${i}`;
    taken.add(id);
    return { ...sink, id };
  });
}
