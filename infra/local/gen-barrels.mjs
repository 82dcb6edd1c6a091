/**
 * `messages.gen.ts`: every message and service definition by name, where the name is unique over all packages; and one namespace per package
 * (`transformV1.DescribeRequest`) for all of them. `definitions.gen.ts`: definition by full service name.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileRegistryOf } from "./gen-image.mjs";

export async function writeBarrels(bytes, folder) {
  const files = [...fileRegistryOf(bytes).files]
    .filter((file) => file.proto.package.startsWith("onedata.") && file.proto.package !== "onedata.policy.v1")
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const exportsOf = (file) => [
    ...file.messages.map(({ name }) => name),
    ...file.enums.map(({ name }) => name),
    ...file.services.map(({ name }) => `${name}Definition`),
  ];
  const uses = new Map();
  for (const file of files) for (const name of exportsOf(file)) uses.set(name, (uses.get(name) ?? 0) + 1);

  const head = "// Generated from the protos; do not edit.\n\n";
  const path = (file) => `./ts/${file.name}.ts`;
  writeFileSync(
    join(folder, "messages.gen.ts"),
    head +
      files
        .map((file) => {
          const unique = exportsOf(file)
            .filter((name) => uses.get(name) === 1)
            .sort(byText);
          return `export * as ${namespaceOf(file)} from "${path(file)}";\n${unique.length > 0 ? `export { ${unique.join(", ")} } from "${path(file)}";\n` : ""}`;
        })
        .join(""),
  );

  const rows = (of) => files.flatMap((file) => of(file).map(([fullName, name]) => `  "${fullName}": ${namespaceOf(file)}.${name},\n`)).join("");
  const served = files.filter(({ services }) => services.length > 0);
  writeFileSync(
    join(folder, "definitions.gen.ts"),
    `${head}${served.map((file) => `import * as ${namespaceOf(file)} from "${path(file)}";\n`).join("")}\n/** Definition by full service name. */\nexport const definitions = {\n${rows((file) => file.services.map(({ typeName, name }) => [typeName, `${name}Definition`]))}} as const;\n`,
  );
}

/** onedata.transform.v1 → transformV1 */
const namespaceOf = (file) => {
  const [, domain, version] = file.proto.package.split(".");
  return `${domain}${version[0].toUpperCase()}${version.slice(1)}`;
};

const byText = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
