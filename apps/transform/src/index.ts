export { createTransformService, TRANSFORM, type TransformDeps } from "./transform-service.ts";
