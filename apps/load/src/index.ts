export { createLoadService, LOAD, type LoadDeps, type LoadService } from "./load-service.ts";
export { loadSchema, runLoad } from "./run-load.ts";
