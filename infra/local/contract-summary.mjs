/**
 * What callers rely on and `buf breaking` does not see, as plain data: routes, scopes, policies, validation rules, who may call whom.
 * Read from the protos as they are now (not from generated files), so a changed path is seen before anything was generated.
 */
import { execFileSync } from "node:child_process";

import { createFileRegistry, fromBinary, getOption, hasOption, toJson } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema, MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";

/** @returns {{ methods: Record<string, object>, services: Record<string, object>, rules: Record<string, string>, fieldsOf: (method: string) => Set<string> }} */
export function summarize(root) {
  const bytes = execFileSync("node_modules/.bin/buf", ["build", "--exclude-source-info", "-o", "-"], {
    cwd: root,
    maxBuffer: 64 * 1024 * 1024,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, bytes));
  const option = (desc, name) => {
    const extension = registry.getExtension(name);
    return hasOption(desc, extension) ? toJson(extension.message, getOption(desc, extension), { registry, alwaysEmitImplicit: false }) : undefined;
  };
  const services = {};
  const methods = {};
  const fields = new Map();
  for (const service of [...registry.files].flatMap((file) => file.services).sort((a, b) => (a.typeName < b.typeName ? -1 : 1))) {
    const { workload = "", callers = [], internal = false } = option(service, "onedata.policy.v1.service") ?? {};
    services[service.typeName] = { workload, callers: [...callers].sort(byText), internal };
    for (const method of service.methods) {
      const name = `${service.typeName}/${method.name}`;
      const rule = option(method, "google.api.http");
      const {
        scopes = [],
        timeout = "",
        maxRetries = 0,
        anonymous = false,
        handwritten = false,
        successStatus = 200,
        rawBody,
      } = option(method, "onedata.policy.v1.method") ?? {};
      methods[name] = {
        http: rule === undefined ? [] : [rule, ...(rule.additionalBindings ?? [])].map(toRoute),
        scopes: [...scopes].sort(byText),
        anonymous,
        timeout,
        maxRetries,
        idempotency: MethodOptions_IdempotencyLevel[method.idempotency],
        successStatus,
        handwritten,
        ...(rawBody === undefined ? {} : { rawBody }),
        kind: method.methodKind,
      };
      fields.set(name, new Set(method.input.fields.map((field) => field.name)));
    }
  }
  const rules = {};
  for (const message of [...registry]
    .filter((desc) => desc.kind === "message" && desc.typeName.startsWith("onedata."))
    .sort((a, b) => (a.typeName < b.typeName ? -1 : 1))) {
    const own = option(message, "buf.validate.message");
    if (own !== undefined) rules[message.typeName] = JSON.stringify(own);
    for (const field of message.fields) {
      const rule = option(field, "buf.validate.field");
      const raw = option(field, "onedata.policy.v1.field")?.rawJson === true;
      if (rule !== undefined) rules[`${message.typeName}.${field.name}`] = JSON.stringify(rule);
      if (raw) rules[`${message.typeName}.${field.name} (form)`] = "raw JSON";
    }
  }
  return { methods, services, rules, fieldsOf: (method) => fields.get(method) };
}

/** `PUT /v1/pipelines/{pipeline} body=document`. */
function toRoute(rule) {
  const verb = ["get", "put", "post", "delete", "patch"].find((each) => rule[each] !== undefined) ?? "custom";
  return [
    verb.toUpperCase(),
    rule[verb] ?? "?",
    ...(rule.body ? [`body=${rule.body}`] : []),
    ...(rule.responseBody ? [`response=${rule.responseBody}`] : []),
  ].join(" ");
}

const byText = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
