import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const vendor: { files: Record<string, { package: string; version: string; sha256: string }> } = JSON.parse(
  readFileSync(join(root, "third_party/proto/VENDOR.json"), "utf8"),
);

describe("third-party protos", () => {
  it.each(Object.entries(vendor.files))("%s is what VENDOR.json records", (path, { sha256 }) => {
    expect(
      createHash("sha256")
        .update(readFileSync(join(root, "third_party/proto", path)))
        .digest("hex"),
    ).toBe(sha256);
  });

  it("records every file", () => {
    const files = execFileSync("git", ["ls-files", "*.proto"], { cwd: join(root, "third_party/proto"), encoding: "utf8" })
      .trim()
      .split("\n");
    expect(Object.keys(vendor.files).sort()).toEqual(files.sort());
  });

  it("buf/validate/validate.proto means what the validator that runs embeds", async () => {
    const entry = createRequire(import.meta.url).resolve("@bufbuild/protovalidate");
    const folder = entry.slice(0, entry.lastIndexOf("protovalidate") + "protovalidate".length);
    const { file_buf_validate_validate: embedded } = await import(pathToFileURL(join(folder, "dist/esm/gen/buf/validate/validate_pb.js")).href);
    const compiled = fromBinary(
      FileDescriptorSetSchema,
      execFileSync("node_modules/.bin/buf", ["build", "third_party/proto", "--exclude-source-info", "-o", "-"], { cwd: root }),
    ).file.find((file) => file.name === "buf/validate/validate.proto");
    if (compiled === undefined) throw new Error("buf did not compile buf/validate/validate.proto");
    // buf's own note about the image (extension 8042), not part of the file.
    delete compiled.$unknown;
    expect(toBinary(FileDescriptorProtoSchema, compiled)).toEqual(toBinary(FileDescriptorProtoSchema, embedded.proto));
    expect(JSON.parse(readFileSync(join(folder, "package.json"), "utf8")).version).toBe(vendor.files["buf/validate/validate.proto"]?.version);
  });
});
