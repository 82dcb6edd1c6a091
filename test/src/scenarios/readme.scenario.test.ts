/** What the README tells a newcomer to paste, pasted. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { openWorld, type World } from "../world/world.ts";

let world: World;
beforeAll(async () => {
  world = await openWorld("solo", { isFirstStart: true });
});
afterAll(() => world?.[Symbol.asyncDispose]());

it("answers the README's snippet as the README says", async () => {
  const readme = readFileSync(new URL("../../../README.md", import.meta.url), "utf8");
  const snippet = /```sh\n([\s\S]*?)```/.exec(readme)?.[1] ?? "";
  expect(snippet).toContain("/v1/pipelines/orders/events");
  const script = snippet.replace("http://127.0.0.1:8080", world.url);
  // A home may be given as it is seen from here, or in full.
  for (const [cwd, home] of [
    [dirname(world.home), basename(world.home)],
    ["/", world.home],
  ]) {
    const { stdout } = await promisify(execFile)("bash", ["-c", script], { cwd, env: { ...process.env, ONEDATA_HOME: home } });
    expect(stdout).toMatch(/\{"id":"evt_[^"]+"[^}]*"state":"done"[^}]*"verdict":"delivered"/);
    expect(stdout).toContain('"record":{"id":1,"price":2,"quantity":3,"total":6}');
  }
});

it("keeps the README's pipeline a valid example", async () => {
  const readme = readFileSync(new URL("../../../README.md", import.meta.url), "utf8");
  const spec = /```yaml\n([\s\S]*?)```/.exec(readme)?.[1] ?? "";
  const answer = await world.api.send("PUT", "/v1/pipelines/orders?dryRun=true", spec, { "content-type": "application/yaml" });
  expect(answer.text).toContain('"passed":true');
  expect(answer.status).toBe(200);
});
