/**
 * Fills third_party/proto from npm packages and records package, version and sha256 of each file in VENDOR.json. No network.
 *   node third_party/vendor.mjs <folder of an unpacked google-gax>   renews the google files from that folder
 *   node third_party/vendor.mjs                                      renews buf/validate/validate.proto only
 * `buf/validate/validate.proto` is in no npm package: it is printed from the descriptor that @bufbuild/protovalidate embeds, so it is always in step with the
 * validator that runs. Run it after bumping that package; a test fails until it was run.
 */
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { printProto } from "./print-proto.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const vendorFile = join(here, "proto", "VENDOR.json");
const require = createRequire(join(here, "..", "libs", "contracts", "package.json"));
const packageRoot = (name) => {
  const entry = require.resolve(name);
  return entry.slice(0, entry.lastIndexOf(join("node_modules", name)) + join("node_modules", name).length);
};
const google = ["google/api/annotations.proto", "google/api/field_behavior.proto", "google/api/http.proto"];

/** The text of validate.proto, and where it came from. */
export async function printValidateProto() {
  const root = packageRoot("@bufbuild/protovalidate");
  const { getOption } = await import(pathToFileURL(require.resolve("@bufbuild/protobuf")).href);
  const generated = await import(pathToFileURL(join(root, "dist/esm/gen/buf/validate/validate_pb.js")).href);
  const file = generated.file_buf_validate_validate;
  const descriptors = new Map();
  for (const message of file.messages) for (const field of message.fields) descriptors.set(field.proto, field);
  const predefinedOf = (proto) => {
    const field = descriptors.get(proto);
    return field === undefined ? [] : getOption(field, generated.predefined).cel;
  };
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const head = `// Printed by third_party/vendor.mjs from the descriptor in @bufbuild/protovalidate ${version}.\n// Copyright 2023-2026 Buf Technologies, Inc. Licensed under the Apache License, Version 2.0.\n\n`;
  return { text: head + printProto(file.proto, predefinedOf), package: "@bufbuild/protovalidate", version };
}

async function main(gaxFolder) {
  const vendor = (() => {
    try {
      return JSON.parse(readFileSync(vendorFile, "utf8"));
    } catch {
      return { files: {} };
    }
  })();
  const record = (path, from) => {
    const sha256 = createHash("sha256").update(readFileSync(join(here, "proto", path))).digest("hex");
    vendor.files[path] = { package: from.package, version: from.version, sha256 };
  };
  for (const path of google) {
    if (gaxFolder === undefined) continue;
    const { version } = JSON.parse(readFileSync(join(gaxFolder, "package.json"), "utf8"));
    mkdirSync(dirname(join(here, "proto", path)), { recursive: true });
    cpSync(join(gaxFolder, "build/protos", path), join(here, "proto", path));
    record(path, { package: "google-gax", version });
  }
  const validate = await printValidateProto();
  mkdirSync(join(here, "proto/buf/validate"), { recursive: true });
  writeFileSync(join(here, "proto/buf/validate/validate.proto"), validate.text);
  record("buf/validate/validate.proto", validate);
  vendor.files = Object.fromEntries(Object.entries(vendor.files).sort(([a], [b]) => (a < b ? -1 : 1)));
  writeFileSync(vendorFile, `${JSON.stringify(vendor, null, 2)}\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv[2]);
