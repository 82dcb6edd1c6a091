/**
 * The contracts: messages and definitions generated from the protos, and the small runtime that reads the image. Imports nothing of the product; runs in a browser.
 * A message or definition has its own name where that is unique over all packages (`Pipeline`, `PipelineServiceDefinition`); every package is also a
 * namespace (`transformV1.DescribeRequest`). A codec's `$type` is the full name that the runtime's functions take.
 */
export * from "./gen/messages.gen.ts";
export { definitions } from "./gen/definitions.gen.ts";
export {
  commentOf, type Contract, type HttpRule, type HttpVerb, type Idempotency, messageOf, type MethodContract, type MethodPolicy, type RawBody, readContract,
  readRegistry, type ServiceContract,
} from "./runtime/registry.ts";
export { fromMessage, toMessage } from "./runtime/structural.ts";
export { type ContractViolation, validate, validateMessage, warmUpValidators } from "./runtime/validate.ts";
export { fromJsonText, isRawJson, type JsonTextOptions, messageFromJsonText, messageToJsonText, toJsonText } from "./runtime/json.ts";
