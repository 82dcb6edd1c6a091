export { createTransformService, TRANSFORM, type TransformDeps, toDescription } from "./transform-service.ts";
