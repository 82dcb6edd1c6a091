// Imports go down only: runs dependency-cruiser over every package, and fails if it saw nothing (a tool that cruises no modules reports success).

import { createRequire } from "node:module";
import { cruise } from "dependency-cruiser";

const require = createRequire(import.meta.url);
const rules = require("../../.dependency-cruiser.cjs");
const { output } = await cruise(["libs", "mesh", "gateway", "apps", "test"], {
  ...rules.options,
  ruleSet: { forbidden: rules.forbidden },
  validate: true,
});
const modules = output.modules.filter((module) => !module.source.includes("node_modules")).length;
for (const { rule, from, to } of output.summary.violations) console.log(`${rule.name}: ${from} -> ${to}`);
console.log(`${modules} modules, ${output.summary.violations.length} violations`);
if (modules < 50 || output.summary.violations.length > 0) process.exit(1);
