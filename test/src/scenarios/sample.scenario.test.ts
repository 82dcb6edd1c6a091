/** Before a version takes over, what it would make of the last events; after an event ran, where it went. Both over the wire of the cluster. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { callCli } from "@onedata/cli/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../world/wait-for.ts";
import { openWorld, type World } from "../world/world.ts";

const spec = (expression: string, more = ""): string => `name: shop
steps:
  - { id: total, use: record.map, with: { set: { total: "${expression}" } } }
${more}sinks:
  - { use: onedata.outputs }
  - { id: files, use: file.ndjson, with: { path: exports/shop } }
`;

describe("a version before it takes over", () => {
  const folder = mkdtempSync(join(tmpdir(), "onedata-sample-"));
  let world: World;
  beforeAll(async () => {
    world = await openWorld("cluster");
  });
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const apply = (text: string, ...options: string[]) => {
    const path = join(folder, "shop.yaml");
    writeFileSync(path, text);
    return callCli(["apply", path, ...options], { env: { ONEDATA_HOME: world.home } });
  };

  it("is tried on the last events: what differs is shown, and what would die is refused", async () => {
    expect((await apply(spec("price * 2"))).stdout).toContain("version 1 is active");
    const sent: string[] = [];
    for (let price = 1; price <= 20; price++) sent.push((await world.api.send("POST", "/v1/pipelines/shop/events", { price })).json.id);
    await waitFor(
      "done",
      () => world.api.get(`/v1/events/${sent.at(-1) ?? ""}`),
      ({ json }) => json?.state === "done",
    );

    const changed = await apply(spec("price > 15 ? price : price * 2"), "--dry-run");
    expect(changed.stdout).toContain("on the last 20 events: 15 same, 5 changed, 0 die");
    expect(changed.stdout).toMatch(/evt_\S+ \{"price":20\}: .*"total":40.* → .*"total":20/);
    const deadly = spec("price * 2", "  - { id: cheap, use: record.validate, with: { schema: { properties: { price: { maximum: 18 } } } } }\n");
    const refused = await apply(deadly);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/2 of the last 20 events die; the first in "cheap"/);
    expect((await world.api.get("/v1/pipelines/shop")).json.activeVersion).toBe(1);
    const forced = await apply(deadly, "--force");
    expect(forced.stdout).toContain("version 2 is active");
    expect(forced.stdout).toContain("18 same, 0 changed, 2 die");
  });

  it("and afterwards every event says where it went", async () => {
    const sent = await world.api.send("POST", "/v1/pipelines/shop/events", { price: 3 }, { prefer: "wait=10" });
    const event = await waitFor(
      "written",
      () => world.api.get(`/v1/events/${sent.json.id}`),
      ({ json }) => json?.written?.length === 2,
    );
    expect(event.json.written).toEqual([
      {
        sink: "onedata-outputs",
        kind: "onedata.outputs",
        target: "onedata.outputs",
        state: "written",
        count: 1,
        sample: [{ price: 3, total: 6 }],
        stored: true,
      },
      { sink: "files", kind: "file.ndjson", target: "exports/shop", state: "written", count: 1, sample: [{ price: 3, total: 6 }], stored: true },
    ]);
    const shown = await callCli(["events", sent.json.id], { env: { ONEDATA_HOME: world.home } });
    expect(shown.stdout).toMatch(/went to +exports\/shop \(file\.ndjson, 1 record\)\n +\{"price":3,"total":6\}/);
  });
});
