export { readAddressList } from "@onedata/sinks";
export { createExportRunner, type ExportRunner, type ExportRunnerOptions, type ExportRunnerPorts } from "./export/export-runner.ts";
export { createLoadService, LOAD, type LoadDeps, type LoadService } from "./load-service.ts";
export { loadSchema, runLoad } from "./run-load.ts";
