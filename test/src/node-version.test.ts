import { readFileSync } from "node:fs";
import { expect, it } from "vitest";

const at = (path: string): URL => new URL(`../../${path}`, import.meta.url);
const read = (path: string): string => readFileSync(at(path), "utf8");

it("starts on the versions of Node that package.json and the README name, and on no others", async () => {
  const { allowsNode }: { allowsNode: (range: string, version: string) => boolean } = await import(at("infra/local/node-version.mjs").href);
  const range: string = JSON.parse(read("package.json")).engines.node;
  const allowed = ["18.20.8", "20.12.0", "20.19.9", "20.20.0", "22.0.0", "24.99.1", "25.0.0", "26.1.0"].filter((version) =>
    allowsNode(range, version),
  );
  expect(allowed).toEqual(["20.20.0", "22.0.0", "24.99.1"]);
  expect(read("README.md")).toContain("Node (20.20 to 24)");
  expect(() => allowsNode("^20", "20.20.0")).toThrow(/\^20/);
});
