import { formatId, type PipelineId } from "@onedata/core";
import { finishImports, getPipeline } from "@onedata/store/control";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ControlWorld, openControlWorld } from "../control-world.ts";

describe("ImportService", () => {
  let world: ControlWorld;
  let pipelineId: PipelineId;
  beforeAll(async () => {
    world = await openControlWorld();
    await world.pipelines.applyPipeline({ pipeline: "movies", document: "name: movies\n", mediaType: "application/yaml" }, world.ana);
    pipelineId = (await getPipeline(world.store.sql, world.ana.identity.tenantId, "movies")).id;
  });
  afterAll(() => world[Symbol.asyncDispose]());

  const insert = async (state: string, accepted: number): Promise<{ id: bigint; name: string }> => {
    const [row] = await world.store.sql<{ id: bigint }[]>`
      insert into onedata.imports (tenant_id, pipeline_id, media_type, state, accepted, source_bytes, source_lines) values (${world.ana.identity.tenantId}, ${pipelineId}, 'text/csv', ${state}, ${accepted}, 4096, 12) returning id`;
    return { id: row?.id ?? 0n, name: formatId("imp", row?.id ?? 0n) };
  };

  it("counts what became of the records and notes when all of them are finished", async () => {
    const { id, name } = await insert("received", 10);
    await world.store.sql`insert into onedata.tallies (owner_id, stripe, delivered, filtered, dead) values (${id}, 0, 3, 1, 1), (${id}, 5, 2, 0, 1)`;
    expect(await world.imports.getImport({ import: name }, world.ana)).toMatchObject({
      state: "processing",
      delivered: 5,
      filtered: 1,
      dead: 2,
      waiting: 2,
      waitingFor: "2 of 10 records are not finished",
    });
    expect(await finishImports(world.store.sql)).toBe(0);
    await world.pipelines.pausePipeline({ pipeline: "movies", reason: "lunch" }, world.ana);
    expect((await world.imports.getImport({ import: name }, world.ana)).waitingFor).toMatch(/^the pipeline is paused by ana since .*: lunch$/);
    await world.pipelines.resumePipeline({ pipeline: "movies" }, world.ana);
    await world.store.sql`update onedata.tallies set delivered = delivered + 2 where owner_id = ${id} and stripe = 0`;
    expect(await finishImports(world.store.sql)).toBe(1);
    const done = await world.imports.getImport({ import: name }, world.ana);
    expect(done).toMatchObject({ state: "done", waiting: 0, waitingFor: "" });
    expect(done.doneAt).toBeInstanceOf(Date);
  });

  it("says where a cut-off import goes on, cancels it once, and lists what was rejected", async () => {
    const { id, name } = await insert("interrupted", 3);
    expect(await world.imports.getImport({ import: name }, world.ana)).toMatchObject({ state: "interrupted", resumeFrom: { byte: 4096, line: 12 } });
    await world.store
      .sql`insert into onedata.import_rejects (import_id, line, code, message, raw) select ${id}, line, 'import.malformed', 'bad', 'x' from generate_series(1, 1203) line`;
    const lines: number[] = [];
    for await (const reject of world.imports.listRejects({ import: name }, world.ana)) lines.push(reject.line);
    expect(lines).toEqual(Array.from({ length: 1203 }, (_, i) => i + 1));
    expect(await world.imports.cancelImport({ import: name }, world.ana)).toMatchObject({ state: "cancelled", waitingFor: "cancelled by ana" });
    expect(await world.imports.cancelImport({ import: name }, world.ana)).toMatchObject({ state: "cancelled" });
    await expect(world.imports.cancelImport({ import: (await insert("received", 1)).name }, world.ana)).rejects.toMatchObject({
      code: "import.conflict",
    });
    const first = await world.imports.listImports({ pageSize: 2 }, world.ana);
    const second = await world.imports.listImports({ pageSize: 2, pageToken: first.nextPageToken }, world.ana);
    expect([first.imports.length, second.imports.length, second.nextPageToken]).toEqual([2, 1, ""]);
  });
});
