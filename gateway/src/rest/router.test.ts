import { describe, expect, it } from "vitest";
import { createRouter, namedValues } from "./router.ts";

const route = (method: string, path: string): { method: string; path: string } => ({ method, path });
const routes = [
  route("GET", "/v1/things"),
  route("GET", "/v1/things/{thing}"),
  route("PUT", "/v1/things/{thing}"),
  route("GET", "/v1/things/latest"),
  route("GET", "/v1/things/{thing}/parts/{part.id}"),
  route("POST", "/v1/things/{thing}:start"),
  route("GET", "/v1/things:count"),
];
const router = createRouter(routes);

function find(method: string, path: string): unknown {
  const match = router.find(path);
  const found = match?.routes.get(method);
  return match === undefined || found === undefined ? undefined : [found.path, Object.fromEntries(namedValues(found, match.values))];
}

describe("the router", () => {
  it("finds literals, variables and verbs; a literal wins", () => {
    expect(find("GET", "/v1/things")).toEqual(["/v1/things", {}]);
    expect(find("GET", "/v1/things/latest")).toEqual(["/v1/things/latest", {}]);
    expect(find("GET", "/v1/things/latest/parts/7")).toEqual(["/v1/things/{thing}/parts/{part.id}", { thing: "latest", "part.id": "7" }]);
    expect(find("POST", "/v1/things/a%3Ab:start")).toEqual(["/v1/things/{thing}:start", { thing: "a:b" }]);
    expect(find("GET", "/v1/things:count")).toEqual(["/v1/things:count", {}]);
  });

  it("knows all methods of a path", () => {
    expect([...(router.find("/v1/things/x")?.routes.keys() ?? [])]).toEqual(["GET", "PUT"]);
  });

  it("finds nothing for empty segments, other verbs and longer paths", () => {
    for (const path of ["/v1/things/", "/v1//", "/v1/things/x:stop", "/v1/things/x/parts", "/", ""]) expect(router.find(path)).toBeUndefined();
  });

  it("hints at the nearest route, with the caller's own values", () => {
    expect(router.hint("/v1/thing/abc")).toBe('; did you mean "/v1/things/abc"?');
    expect(router.hint("/v1/things/abc:strat")).toBe('; did you mean "/v1/things/abc:start"?');
    expect(router.hint("/nowhere/near/any/of/these")).toBe("");
  });

  it("refuses doubled routes and templates it does not know, at start", () => {
    expect(() => createRouter([route("GET", "/v1/{a}"), route("GET", "/v1/{b}")])).toThrow("two routes");
    expect(() => createRouter([route("GET", "/v1/{name=things/*}")])).toThrow("neither a literal nor");
  });
});
