/**
 * From the full descriptor image: `image.gen.ts` (all files, no source info, as base64 text: the one form that loads the same from source, from dist and in
 * a browser) and `comments.gen.ts` (leading comments of our own declarations by full name, for OpenAPI and help texts).
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { createFileRegistry, fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

export async function writeImage(bytes, folder) {
  const set = fromBinary(FileDescriptorSetSchema, bytes);
  writeFileSync(
    join(folder, "comments.gen.ts"),
    `// Generated from the protos; do not edit.\n\n/** Leading comments by full name of service, method, message, field, enum or enum value. */\nexport const comments: Readonly<Record<string, string>> = ${JSON.stringify(commentsOf(set), null, 2)};\n`,
  );
  for (const file of set.file) delete file.sourceCodeInfo;
  const text = Buffer.from(toBinary(FileDescriptorSetSchema, set)).toString("base64");
  writeFileSync(
    join(folder, "image.gen.ts"),
    `// Generated from the protos; do not edit.\n\n/** google.protobuf.FileDescriptorSet, base64. */\nexport const image =\n  "${text}";\n`,
  );
}

export const fileRegistryOf = (bytes) => createFileRegistry(fromBinary(FileDescriptorSetSchema, bytes));

function commentsOf(set) {
  const found = [];
  for (const file of set.file.filter(({ package: name }) => name.startsWith("onedata."))) {
    for (const { path, leadingComments } of file.sourceCodeInfo?.location ?? []) {
      const name = nameAt(file, path);
      if (leadingComments && name !== undefined)
        found.push([
          name,
          leadingComments
            .split("\n")
            .map((line) => line.trim())
            .join("\n")
            .trim(),
        ]);
    }
  }
  return Object.fromEntries(found.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}

/** Full name of the declaration at a path of field numbers and indexes (descriptor.proto); undefined for what is not a declaration. */
function nameAt(file, path) {
  const kinds = {
    file: { 4: ["messageType", "message"], 5: ["enumType", "enum"], 6: ["service", "service"], 7: ["extension", "leaf"] },
    message: { 2: ["field", "leaf"], 3: ["nestedType", "message"], 4: ["enumType", "enum"], 8: ["oneofDecl", "leaf"] },
    enum: { 2: ["value", "leaf"] },
    service: { 2: ["method", "leaf"] },
  };
  let node = file;
  let kind = "file";
  let name = file.package;
  for (let i = 0; i + 1 < path.length; i += 2) {
    const step = kinds[kind]?.[path[i]];
    const child = step === undefined ? undefined : node[step[0]]?.[path[i + 1]];
    if (child === undefined) return undefined;
    [node, kind, name] = [child, step[1], `${name}.${child.name}`];
  }
  return path.length % 2 === 0 && path.length > 0 ? name : undefined;
}
