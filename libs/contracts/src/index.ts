/**
 * The contracts: messages and definitions generated from the protos. Nothing here is written by hand but the runtime that reads them.
 */
export * from "./gen/messages.gen.ts";
export { definitions } from "./gen/definitions.gen.ts";
