import { type Json, readSpec } from "@onedata/core";
import { describe, expect, it } from "vitest";
import { findOpenSecrets } from "./open-secrets.ts";

const find = (use: string, config: { readonly [name: string]: Json }) => {
  const { spec, violations } = readSpec({ name: "p", sinks: [{ use: "onedata.outputs" }, { use, with: config }] });
  if (spec === undefined) throw new Error(JSON.stringify(violations));
  return findOpenSecrets(spec);
};
const pointers = (found: readonly { pointer: string }[]): string[] => found.map(({ pointer }) => pointer);

describe("secrets in a spec", () => {
  it("are refused as headers of http.post, which a connection can carry, without a word of their value", () => {
    const headers = { Authorization: "Bearer TOPSECRET", "X-API-Key": "TOPSECRET", Cookie: "TOPSECRET", "X-Auth-Token": "TOPSECRET" };
    const { refused, warnings } = find("http.post", { url: "https://example.com/x", headers: { ...headers, "X-Source": "orders", "X-Keys": "3" } });
    expect(pointers(refused)).toEqual(Object.keys(headers).map((name) => `/sinks/1/with/headers/${name}`));
    expect(warnings).toEqual([]);
    expect(JSON.stringify(refused)).not.toContain("TOPSECRET");
    expect(refused[0]?.detail).toMatch(/connection of kind http/);
  });

  it("are warned of in the query of a URL, which has no other place", () => {
    for (const url of ["https://example.com/x?a=1&api_key=QSECRET#f", "x?key=QSECRET", "https://example.com/?access_token=QSECRET"]) {
      const { refused, warnings } = find("http.post", { url });
      expect([refused, pointers(warnings)]).toEqual([[], ["/sinks/1/with/url"]]);
      expect(JSON.stringify(warnings)).not.toContain("QSECRET");
    }
  });

  it("are not seen where there are none", () => {
    const none = { refused: [], warnings: [] };
    expect(find("http.post", { url: "https://example.com/token?id=api_key#token=1", headers: { "X-Source": "secret" } })).toEqual(none);
    expect(find("http.post", { connection: "billing" })).toEqual(none);
    expect(find("file.ndjson", { path: "x", headers: { Authorization: "x" } })).toEqual(none);
  });
});
