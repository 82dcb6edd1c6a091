/**
 * The contracts: messages and definitions generated from the protos, and the small runtime that reads the image. Imports nothing of the product; runs in a browser.
 * A message or definition has its own name where that is unique over all packages (`Pipeline`, `PipelineServiceDefinition`); every package is also a
 * namespace (`transformV1.DescribeRequest`). A codec's `$type` is the full name that the runtime's functions take.
 */

export { definitions } from "./gen/definitions.gen.ts";
export * from "./gen/messages.gen.ts";
export { fromJsonText, isRawJson, type JsonTextOptions, messageFromJsonText, messageToJsonText, toJsonText } from "./runtime/json.ts";
export {
  type Contract,
  commentOf,
  type HttpRule,
  type HttpVerb,
  type Idempotency,
  type MethodContract,
  type MethodPolicy,
  messageOf,
  type RawBody,
  readContract,
  readRegistry,
  type ServiceContract,
} from "./runtime/registry.ts";
export { fromMessage, toMessage } from "./runtime/structural.ts";
export { findUnstorableJson, textProblem } from "./runtime/unstorable-text.ts";
export { validate, validateMessage, warmUpValidators } from "./runtime/validate.ts";
export type { ContractViolation } from "./runtime/violation.ts";
