/** Files of tenants that are erased: they go, whatever is in their way, and nothing else does. */
import { mkdir, readdir, rm, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openExportSession, openStore, type Store } from "@onedata/store";
import { askErasure, eraseTenants } from "@onedata/store/retention";
import { createTestPipeline, createTestTenant, type TestDatabase } from "@onedata/store/testing";
import { describe, expect, it } from "vitest";
import { complete, files, hasty, jsonOf, pipelineOf, planOf, start, until, useExports, written } from "./export-testing.ts";

let database: TestDatabase;
let store: Store;
let folder: string;
useExports((made) => ({ database, store, folder } = made));

describe("erasing a tenant", () => {
  const now = { graceSeconds: 0 };
  const isThere = (path: string): Promise<boolean> =>
    stat(path).then(
      () => true,
      () => false,
    );
  async function askToErase(tenant: string): Promise<() => ReturnType<typeof askErasure>> {
    const operator = await createTestTenant(store.sql, `operators of ${tenant}`);
    const ask = () => askErasure(store.sql, operator, { name: "operator" }, tenant);
    await ask();
    return ask;
  }
  const eraseAnd = (ask: () => ReturnType<typeof askErasure>) => async () => {
    await eraseTenants(store.sql, now);
    return ask();
  };
  /** Until all is gone but the files. */
  const untilFilesAreDue = (ask: () => ReturnType<typeof askErasure>) =>
    until("its rows are gone", eraseAnd(ask), ({ waitingFor }) => waitingFor.includes("load process"));

  it("removes its folder, whatever is in it, and nothing that a link leads to; a new tenant of that name finds it empty", async () => {
    const { pipelineId, tenant } = await pipelineOf(files("out/ship"));
    const other = await pipelineOf(files("out"));
    await complete(store.sql, pipelineId, { jsons: ['{"secret":"4711"}'] });
    await complete(store.sql, other.pipelineId, { jsons: [jsonOf(1)] });
    const running = start(hasty());
    await until(
      "written",
      () => written(tenant, "out/ship"),
      ({ names }) => names.length > 0,
    );
    await until(
      "written",
      () => written(other.tenant, "out"),
      ({ names }) => names.length > 0,
    );
    const outside = join(folder, "outside");
    await mkdir(outside);
    await writeFile(join(outside, "kept"), "kept");
    await symlink(outside, join(folder, tenant, "link"));
    await writeFile(join(folder, tenant, "out/ship/.left.part"), '{"secret":"4711"}');

    const ask = await askToErase(tenant);
    await until("erased", eraseAnd(ask), ({ state }) => state === "erased");
    expect(await isThere(join(folder, tenant))).toBe(false);
    expect(await readdir(outside)).toEqual(["kept"]);
    expect((await written(other.tenant, "out")).values).toEqual([1]);

    const tenantId = await createTestTenant(store.sql, tenant);
    const again = await createTestPipeline(store.sql, { tenantId, name: "p", plan: planOf(files("out/ship")) });
    await complete(store.sql, again.pipelineId, { jsons: [jsonOf(2)] });
    await until(
      "written anew",
      () => written(tenant, "out/ship"),
      ({ values }) => values.length > 0,
    );
    expect((await written(tenant, "out/ship")).values).toEqual([2]);
    await running.stop();
  });

  it("waits for a load process, and goes on where one was killed", async () => {
    const { pipelineId, tenant } = await pipelineOf(files("out"));
    await complete(store.sql, pipelineId, { jsons: [jsonOf(1)] });
    const first = start(hasty());
    await until(
      "written",
      () => written(tenant, "out"),
      ({ names }) => names.length > 0,
    );
    await first.stop();
    const ask = await askToErase(tenant);
    expect(await untilFilesAreDue(ask)).toMatchObject({ state: "erasing" });
    expect(await isThere(join(folder, tenant, "out"))).toBe(true);

    // One that holds the lock and dies before it has said that it is done.
    const dying = openStore(database.url);
    const session = openExportSession(dying);
    const [erased] = (await session.readErasedTenants()).filter(({ name }) => name === tenant);
    if (erased === undefined) throw new Error("nothing is due");
    expect(await session.lockTenant(erased.tenantId)).toBeDefined();
    await rm(join(folder, tenant, "out"), { recursive: true });
    const second = start();
    expect(await eraseTenants(store.sql, now)).toBe(1);
    expect(await ask()).toMatchObject({ state: "erasing" });
    await session[Symbol.asyncDispose]();
    await dying[Symbol.asyncDispose]();
    await until("erased", eraseAnd(ask), ({ state }) => state === "erased");
    expect(await isThere(join(folder, tenant))).toBe(false);
    await second.stop();
  });
});
