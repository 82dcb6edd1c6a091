/** The control plane. */
export { type Control, type ControlPorts, createControl } from "./create-control.ts";
export { controlSchema, runControl } from "./run-control.ts";
export type { StepProblem } from "./services/step-checker.ts";
export { type CheckedSpec, checkSpec, type SpecSurroundings } from "./spec/check-spec.ts";
export { diffSpecs, type SpecChange } from "./spec/diff.ts";
export { MAX_SPEC_BYTES, readDocument, type SpecDocument, type SpecProblem } from "./spec/document.ts";
export { resolveVariables } from "./spec/variables.ts";
