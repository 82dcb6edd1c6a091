/** Holds the routes that are written by hand to the contract they stand for. */
import { readContract } from "@onedata/contracts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makePipeline, openWorld, type TestWorld } from "../testing/world.ts";

const METHODS = [
  ["/onedata.capture.v1.CaptureService/CaptureEvent", "application/json", "1"],
  ["/onedata.imports.v1.ImportService/UploadImport", "application/x-ndjson", "1\n"],
] as const;

describe("routes written by hand", () => {
  let world: TestWorld;
  beforeAll(async () => {
    world = await openWorld();
  });
  afterAll(() => world[Symbol.asyncDispose]());

  it("are all the contract has", () => {
    const handwritten = readContract().methods.filter((method) => method.policy.handwritten);
    expect(handwritten.map((method) => method.path).sort((a, b) => a.localeCompare(b))).toEqual(METHODS.map(([path]) => path));
  });

  it.each(METHODS)("%s has the contract's route, scopes, status and fields", async (path, mediaType, body) => {
    const method = readContract().methodByPath.get(path);
    const rule = method?.http[0];
    if (method === undefined || rule === undefined) throw new Error(`${path} has no route`);
    expect(method.policy.rawBody?.mediaTypes).toContain(mediaType);
    const post = async (scopes: readonly string[]): Promise<Response> => {
      const client = await world.signIn({ scopes });
      const { name } = await makePipeline(world, client);
      return fetch(`${world.first.url}/v1/pipelines/${name}${/\/[a-z]+$/.exec(rule.path)?.[0]}`, {
        method: rule.verb.toUpperCase(),
        body,
        headers: { "content-type": mediaType, ...client.headers },
      });
    };
    const answer = await post(method.policy.scopes);
    expect(answer.status).toBe(method.policy.successStatus);
    const fields = new Set(method.output.fields.map((field) => field.jsonName));
    expect(Object.keys((await answer.json()) as object).filter((name) => !fields.has(name))).toEqual([]);
    for (const missing of method.policy.scopes)
      expect((await post(["events:read", ...method.policy.scopes.filter((scope) => scope !== missing)])).status).toBe(403);
  });
});
