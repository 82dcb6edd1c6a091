export { type ClusterOptions, runCluster } from "./cluster.ts";
export { createPlatformDatabase } from "./databases.ts";
export { applyExamples, type ExamplePorts } from "./examples.ts";
export { allScopes, connectWarehouse, type FirstClient, openFirstClient } from "./first-client.ts";
export { type ClientFile, Home } from "./home.ts";
export { runSolo, type SoloOptions, type SoloReady } from "./solo.ts";
