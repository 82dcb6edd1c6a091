/** Three projects by file name: `*.conformance.test.ts`, `*.scenario.test.ts`, and every other `*.test.ts` as unit. */
import { defineConfig } from "vitest/config";

const ignored = ["**/node_modules/**", "**/dist/**"];
const shared = {
  // Packages resolve to their TypeScript source, as in development. Programs that tests start are the built ones.
  ssr: { resolve: { conditions: ["source"], externalConditions: ["source"] } },
  resolve: { conditions: ["source"] },
};
// Limits are there for what hangs. None is close to what anything takes on a machine that is busy with other things too (a world of processes in a hook: 90 s).
const test = {
  environment: "node" as const,
  retry: 0,
  testTimeout: 120_000,
  hookTimeout: 240_000,
  expect: { poll: { timeout: 20_000 } },
};
// Files share a process, and what they import is evaluated once in it: for each file anew it takes longer than most files. No test changes a module.
const together = { isolate: false };

export default defineConfig({
  ...shared,
  test: {
    // Tests wait more than they compute: servers that start, deadlines that pass.
    maxWorkers: 2,
    globalSetup: ["infra/local/build.mjs", "libs/store/src/test-server-setup.ts"],
    projects: [
      {
        ...shared,
        test: {
          ...test,
          ...together,
          name: "unit",
          include: ["**/*.test.ts"],
          exclude: [...ignored, "**/*.conformance.test.ts", "**/*.scenario.test.ts"],
        },
      },
      { ...shared, test: { ...test, ...together, name: "conformance", include: ["**/*.conformance.test.ts"], exclude: ignored } },
      {
        ...shared,
        test: { ...test, name: "scenario", globalSetup: ["test/src/world/setup.ts"], include: ["**/*.scenario.test.ts"], exclude: ignored },
      },
    ],
  },
});
