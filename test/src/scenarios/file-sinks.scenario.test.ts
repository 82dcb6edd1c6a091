/** Results as files: an import through a pipeline with two file sinks; the files hold each record once, also when the process was killed in between. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "csv-parse/sync";
import { afterAll, describe, expect, it } from "vitest";
import { waitFor } from "../world/wait-for.ts";
import { openWorld, removeHome, type World } from "../world/world.ts";

describe("file sinks (solo)", () => {
  const home = mkdtempSync(join(tmpdir(), "onedata-world-"));
  afterAll(() => {
    removeHome(home);
    rmSync(home, { recursive: true, force: true });
  });

  const spec = {
    name: "files",
    steps: [{ id: "total", use: "record.map", with: { set: { total: "price * 2" } } }],
    sinks: [
      { use: "file.ndjson", with: { path: "exports/lines" } },
      { use: "file.csv", with: { path: "exports/sheets", columns: ["id", "text", "total"] } },
    ],
  };
  const importLines = async ({ api }: World, from: number, count: number): Promise<void> => {
    const body = Array.from({ length: count }, (_, i) => JSON.stringify({ id: from + i, price: i, text: `a "quoted", ${i}` })).join("\n");
    const accepted = await api.send("POST", "/v1/pipelines/files/imports", body, { "content-type": "application/x-ndjson" });
    expect(accepted.status, accepted.text).toBe(202);
    const done = await waitFor(
      "import done",
      () => api.get(`/v1/imports/${accepted.json.id}`),
      ({ json }) => json?.state === "done",
      60_000,
    );
    expect(done.json).toMatchObject({ accepted: count, delivered: count });
  };
  const read = (world: World, path: string): string[] => {
    const [tenant = ""] = readdirSync(join(world.home, "exports"));
    const folder = join(world.home, "exports", tenant, "exports", path);
    const names = readdirSync(folder).filter((name) => !name.startsWith("."));
    return names.sort().map((name) => readFileSync(join(folder, name), "utf8"));
  };

  it("hold each of 1,000 imported records exactly once, over a kill and a stop", async () => {
    const killed = await openWorld("solo", { home });
    const applied = await killed.api.send("PUT", "/v1/pipelines/files", spec);
    expect(applied.status, applied.text).toBe(200);
    await importLines(killed, 0, 600);
    await killed.kill();
    const world = await openWorld("solo", { home });
    await importLines(world, 600, 400);
    await world.stop();

    const ids = Array.from({ length: 1000 }, (_, i) => i);
    const lines = read(world, "lines").join("").trimEnd().split("\n");
    const records = lines.map((line): { id: number; price: number; total: number } => JSON.parse(line)).sort((a, b) => a.id - b.id);
    expect(records.map(({ id }) => id)).toEqual(ids);
    expect(records.every(({ price, total }) => total === price * 2)).toBe(true);
    const rows = read(world, "sheets").flatMap((text): Record<string, string>[] => parse(text, { columns: true, record_delimiter: "\r\n" }));
    expect(rows.map((row) => Number(row["id"])).sort((a, b) => a - b)).toEqual(ids);
    expect(rows.find((row) => row["id"] === "7")).toEqual({ id: "7", text: 'a "quoted", 7', total: "14" });
  }, 180_000);
});
