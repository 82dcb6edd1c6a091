import { openTestDatabase, type TestDatabase } from "@onedata/store/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createSinks } from "../registry.ts";

describe("where a connection to a database may lead", () => {
  let shared: TestDatabase;
  beforeAll(async () => {
    shared = await openTestDatabase();
  });
  afterAll(() => shared[Symbol.asyncDispose]());

  const problemOf = async (allowedAddresses: readonly string[] | undefined, host?: string): Promise<string> => {
    await using sinks = createSinks({ postgres: allowedAddresses === undefined ? {} : { allowedAddresses } });
    const url = new URL(shared.url);
    if (host !== undefined) url.hostname = host;
    return await sinks.checkConnection({ name: "db", kind: "postgres", config: { url: url.href } }, "t", AbortSignal.timeout(10_000));
  };

  it("is anywhere without a policy, and with one only where the operator says, by name, address, range or word", async () => {
    expect(await problemOf(undefined)).toBe("");
    for (const allowed of [["private"], ["127.0.0.1"], ["127.0.0.0/8"]]) expect([allowed, await problemOf(allowed)]).toEqual([allowed, ""]);
    expect(await problemOf(["localhost"], "localhost")).toBe("");
    const refused = /is, or resolves to, a private or local address/;
    expect(await problemOf([])).toMatch(refused);
    expect(await problemOf(["10.0.0.0/8"])).toMatch(refused);
    // By what a name resolves to, not by the name.
    expect(await problemOf([], "localhost")).toMatch(refused);
  });

  it("is never a link-local address, where clouds keep credentials, unless it is named", async () => {
    for (const host of ["169.254.169.254", "[fe80::1]"])
      expect([host, await problemOf(["private"], host)]).toEqual([host, expect.stringMatching(/private or local/)]);
  });
});
