/**
 * Holds the contract to our own rules, and to `libs/contracts/contract.golden.json`, which is reviewed like code: what changed is named, old and new, and
 * whether it breaks callers. `buf lint` and `buf breaking` see none of this.
 *   node infra/local/contract-lint.mjs            fails on a broken rule and on any difference
 *   node infra/local/contract-lint.mjs --accept   writes the golden file anew
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { summarize } from "./contract-summary.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const goldenPath = "libs/contracts/contract.golden.json";

/** Processes that an installation consists of. */
const WORKLOADS = new Set(["gateway", "control", "engine", "transform", "load", "extract"]);

/** @returns {string[]} every broken rule, with the rpc's name. */
export function lint({ methods, services, fieldsOf }) {
  const problems = [];
  const routes = new Map();
  const variablesAt = new Map();
  for (const [name, service] of Object.entries(services)) {
    if (service.workload === "") problems.push(`${name}: option (onedata.policy.v1.service).workload is missing`);
    if (service.workload !== "" && !WORKLOADS.has(service.workload)) problems.push(`${name}: unknown workload ${service.workload}`);
    for (const caller of service.callers) if (!WORKLOADS.has(caller)) problems.push(`${name}: unknown caller ${caller}`);
    if (service.callers.length === 0) problems.push(`${name}: no callers; nobody could call it`);
  }
  for (const [name, method] of Object.entries(methods)) {
    const say = (text) => problems.push(`${name}: ${text}`);
    if (method.scopes.length === 0 && !method.anonymous) say("needs scopes, or anonymous: true");
    if (method.scopes.length > 0 && method.anonymous) say("is anonymous and asks for scopes");
    if (!/^[1-9]\d*(\.\d+)?s$|^0\.\d+s$/.test(method.timeout)) say("needs a timeout");
    if (method.kind === "bidi_streaming") say("streams both ways; no transport of ours carries that yet");
    if (method.maxRetries > 0 && method.idempotency === "IDEMPOTENCY_UNKNOWN") say(`has max_retries ${method.maxRetries} without idempotency_level`);
    if (services[name.split("/")[0]].internal && method.http.length > 0) say("belongs to an internal service and has a route");
    for (const route of method.http) {
      const [verb, path] = route.split(" ");
      if ((verb === "GET") !== (method.idempotency === "NO_SIDE_EFFECTS"))
        say(`is ${verb} and ${method.idempotency}; GET and NO_SIDE_EFFECTS go together`);
      if ((verb === "GET" || verb === "DELETE") && route.includes(" body=")) say(`is ${verb} with a body`);
      if (!/^\/v1(\/([a-z][a-z0-9-]*|\{[a-z_.]+\}))+(:[a-z][a-zA-Z]*)?$/.test(path))
        say(`has an unusual path ${path}; segments are kebab-case words or {field}, an optional :verb ends it`);
      const shape = `${verb} ${path.replaceAll(/\{[^}]+\}/g, "{}")}`;
      if (routes.has(shape)) say(`has the route ${verb} ${path}, as ${routes.get(shape)} has`);
      routes.set(shape, name);
      const parts = path.split("/");
      for (const [i, part] of parts.entries()) {
        const variable = /\{([^}]+)\}/.exec(part)?.[1];
        if (variable === undefined) continue;
        if (!fieldsOf(name).has(variable)) say(`has {${variable}} in its path and no such field in its request`);
        const before = parts
          .slice(0, i)
          .join("/")
          .replaceAll(/\{[^}]+\}/g, "{}");
        const known = variablesAt.get(before);
        if (known !== undefined && known.variable !== variable)
          say(`calls the variable after ${before} {${variable}}, ${known.name} calls it {${known.variable}}`);
        variablesAt.set(before, { variable, name });
      }
    }
    const bodyField = method.rawBody?.field;
    if (bodyField !== undefined && !fieldsOf(name).has(bodyField)) say(`raw_body.field ${bodyField} is no field of its request`);
  }
  return problems;
}

/** @returns {{ name: string, what: string, breaking: boolean }[]} differences from old to new. */
export function diff(before, after) {
  const changes = [];
  const add = (name, what, breaking) => changes.push({ name, what, breaking });
  const names = (key) => [...new Set([...Object.keys(before[key] ?? {}), ...Object.keys(after[key] ?? {})])].sort();
  for (const name of names("methods")) {
    const [old, now] = [before.methods?.[name], after.methods[name]];
    if (old === undefined) add(name, `new rpc ${now.http.join(", ")}`, false);
    else if (now === undefined) add(name, `rpc removed ${old.http.join(", ")}`, true);
    else for (const key of new Set([...Object.keys(old), ...Object.keys(now)])) compare(name, key, old[key], now[key], add);
  }
  for (const name of names("services")) {
    const [old, now] = [before.services?.[name], after.services[name]];
    if (old === undefined || now === undefined) add(name, old === undefined ? "new service" : "service removed", now === undefined);
    else for (const key of Object.keys(now)) compare(name, key, old[key], now[key], add);
  }
  for (const name of names("rules")) {
    const [old, now] = [before.rules?.[name], after.rules[name]];
    if (old !== now) add(name, `rule ${old ?? "(none)"} → ${now ?? "(none)"}`, now !== undefined || name.endsWith("(form)"));
  }
  return changes;
}

function compare(name, key, old, now, add) {
  if (JSON.stringify(old) === JSON.stringify(now)) return;
  if (!Array.isArray(old) || !Array.isArray(now)) {
    // A longer deadline or more retries hurt nobody; everything else that callers can see may.
    add(
      name,
      `${key} ${JSON.stringify(old)} → ${JSON.stringify(now)}`,
      !["timeout", "maxRetries", "handwritten"].includes(key) && !(key === "anonymous" && now === true),
    );
    return;
  }
  const gone = old.filter((entry) => !now.includes(entry));
  const come = now.filter((entry) => !old.includes(entry));
  if (key === "http" && gone.length === 1 && come.length === 1) add(name, `route ${gone[0]} → ${come[0]}`, true);
  else {
    // A route or a caller may come, a scope may go: nobody who could call before is refused.
    for (const entry of gone) add(name, `${key} without ${entry}`, key !== "scopes");
    for (const entry of come) add(name, `${key} with ${entry}`, key === "scopes");
  }
}

function main(accept) {
  const summary = summarize(root);
  const { methods, services, rules } = summary;
  const problems = lint(summary);
  if (problems.length > 0) {
    console.error(`the contract breaks ${problems.length} rule(s):\n${problems.map((text) => `  ${text}`).join("\n")}`);
    process.exitCode = 1;
  }
  const path = join(root, goldenPath);
  if (accept) {
    writeFileSync(path, `${JSON.stringify({ methods, services, rules }, null, 2)}\n`);
    console.log(`${goldenPath} written: ${Object.keys(methods).length} rpcs, ${Object.keys(rules).length} rules`);
    return;
  }
  const golden = existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : {};
  const changes = diff(golden, { methods, services, rules });
  if (changes.length > 0) {
    const lines = changes.map(({ name, what, breaking }) => `  ${breaking ? "BREAKING  " : "compatible"}  ${name}: ${what}`);
    console.error(
      `the contract differs from ${goldenPath} in ${changes.length} place(s); if that is meant, run \`node infra/local/contract-lint.mjs --accept\` and commit:\n${lines.join("\n")}`,
    );
    process.exitCode = 1;
  }
  if (process.exitCode !== 1)
    console.log(`${Object.keys(methods).length} rpcs of ${Object.keys(services).length} services keep the rules and match ${goldenPath}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main(process.argv.includes("--accept"));
