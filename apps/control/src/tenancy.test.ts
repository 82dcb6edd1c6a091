/** Whoever names what belongs to another tenant learns nothing: every method answers as if it did not exist. */
import { randomUUID } from "node:crypto";
import { readContract } from "@onedata/contracts";
import { formatEventId, formatId, OneDataError } from "@onedata/core";
import { captureGroup, claimRun, completeRun, registerEngine } from "@onedata/store";
import { getPipeline } from "@onedata/store/control";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { asUser, type ControlWorld, openControlWorld } from "./control-world.ts";

const SPEC = "name: secret-orders\nsteps: [{ id: a, use: record.map, with: { set: { x: '1' } } }]\n";

describe("two tenants", () => {
  let world: ControlWorld;
  let event = "";
  let importId = "";
  let clientId = "";
  let letter = "";
  let job = "";
  let subscription = "";

  beforeAll(async () => {
    world = await openControlWorld();
    const { ana, store } = world;
    const { tenantId } = ana.identity;
    await world.connections.putConnection(
      { connection: "warehouse", kind: "postgres", config: { host: "db", database: "d", user: "u" }, secrets: { password: "s3cret" } },
      ana,
    );
    await world.lookups.putLookup({ lookup: "secret-places", content: Buffer.from("code,name\nNO,Norway\n"), mediaType: "text/csv" }, ana);
    await world.tenants.setVariables({ variables: { where: "hic-sunt" } }, ana);
    clientId = (await world.tenants.createClient({ name: "secret-bot", scopes: ["events:read"] }, ana)).clientId;
    await world.pipelines.applyPipeline({ pipeline: "secret-orders", document: SPEC, mediaType: "application/yaml" }, ana);
    const subscribed = await world.subscriptions.createSubscription({ url: "https://93.184.216.34/secret-hook" }, ana);
    subscription = subscribed.subscription?.id ?? "";
    const pipelineId = (await getPipeline(store.sql, tenantId, "secret-orders")).id;
    const [row] = await store.sql<
      { id: bigint }[]
    >`insert into onedata.imports (tenant_id, pipeline_id, media_type) values (${tenantId}, ${pipelineId}, 'text/csv') returning id`;
    importId = formatId("imp", row?.id ?? 0n);
    const [[captured] = []] = await captureGroup(store, [
      { target: { tenantId, pipelineId, version: 1, laneClass: "live", ordered: false }, events: [{ payload: '{"card":"4711"}' }] },
    ]);
    if (captured?.kind !== "captured") throw new Error("not captured");
    event = formatEventId(captured);
    const engine = randomUUID();
    await registerEngine(store, { incarnation: engine, slots: 1, leaseMs: 60_000 });
    const { run } = await claimRun(store, { runId: randomUUID(), owner: engine, deadlineMs: 60_000 });
    await completeRun(store, {
      runId: run?.runId ?? "",
      engine,
      wokenBy: "test",
      durationMs: 1,
      batches: (run?.batches ?? []).map((batch) => ({
        ...batch,
        verdicts: Uint8Array.of(2),
        counts: { delivered: 0, filtered: 0, dead: 1 },
        deadLetters: [{ n: 0, step: "a", code: "record.invalid", fingerprint: "f", message: "4711", payload: '{"card":"4711"}' }],
        outputs: [{ sink: 0, ordinals: [0], payloads: ['{"card":"4711"}'] }],
      })),
    });
    const { deadLetters } = await world.deadLetters.listDeadLetters({ fingerprint: "f" }, ana);
    letter = deadLetters[0]?.id ?? "";
    job = (await world.deadLetters.replayDeadLetters({ filter: { fingerprint: "f" }, reason: "secret-reason" }, ana)).id;
  });
  afterAll(() => world[Symbol.asyncDispose]());

  const first = async (stream: AsyncIterable<unknown>): Promise<unknown> => {
    for await (const item of stream) return item;
    return undefined;
  };

  /** What `bo` of the second tenant does with the first one's names. `hidden`: an empty list or its own settings instead of 404. */
  const attempts = (): Record<string, { call: () => Promise<unknown>; code?: string; hidden?: true }> => {
    const { bo } = world;
    const pipeline = "secret-orders";
    const p = "pipeline.not_found";
    const s = "subscription.not_found";
    return {
      "PipelineService.ApplyPipeline": {
        call: () => world.pipelines.applyPipeline({ pipeline, document: SPEC, mediaType: "application/yaml", dryRun: true, ifMatch: "x" }, bo),
        code: "request.precondition_failed",
      },
      "PipelineService.GetPipeline": { call: () => world.pipelines.getPipeline({ pipeline }, bo), code: p },
      "PipelineService.ListPipelines": { call: () => world.pipelines.listPipelines({}, bo), hidden: true },
      "PipelineService.DeletePipeline": { call: () => world.pipelines.deletePipeline({ pipeline }, bo), code: p },
      "PipelineService.ListVersions": { call: () => world.pipelines.listVersions({ pipeline }, bo), code: p },
      "PipelineService.GetVersion": { call: () => world.pipelines.getVersion({ pipeline, version: 1 }, bo), code: p },
      "PipelineService.ActivateVersion": { call: () => world.pipelines.activateVersion({ pipeline, version: 1 }, bo), code: p },
      "PipelineService.PausePipeline": { call: () => world.pipelines.pausePipeline({ pipeline }, bo), code: p },
      "PipelineService.ResumePipeline": { call: () => world.pipelines.resumePipeline({ pipeline }, bo), code: p },
      "PipelineService.DiscardBacklog": { call: () => world.pipelines.discardBacklog({ pipeline }, bo), code: p },
      "PipelineService.GetStats": { call: () => world.pipelines.getStats({ pipeline }, bo), code: p },
      "LabService.TestPipeline": { call: () => world.lab.testPipeline({ pipeline }, bo), code: p },
      "LabService.PreviewPipeline": { call: () => world.lab.previewPipeline({ pipeline, document: SPEC }, bo), code: p },
      "EventService.GetEvent": { call: () => world.events.getEvent({ event }, bo), code: "event.not_found" },
      "EventService.ListEvents": { call: () => world.events.listEvents({ pipeline }, bo), code: p },
      "EventService.ListOutputs": { call: () => world.events.listOutputs({ pipeline }, bo), code: p },
      "EventService.TailEvents": { call: () => first(world.events.tailEvents({ pipeline }, bo)), code: p },
      "DeadLetterService.ListDeadLetters": { call: () => world.deadLetters.listDeadLetters({ fingerprint: "f" }, bo), hidden: true },
      "DeadLetterService.GroupDeadLetters": { call: () => world.deadLetters.groupDeadLetters({ pipeline }, bo), code: p },
      "DeadLetterService.GetDeadLetter": { call: () => world.deadLetters.getDeadLetter({ deadLetter: letter }, bo), code: "deadletter.not_found" },
      "DeadLetterService.ReplayDeadLetters": {
        call: () => world.deadLetters.replayDeadLetters({ filter: { ids: [letter] } }, bo),
        code: "deadletter.not_found",
      },
      "DeadLetterService.DiscardDeadLetters": {
        call: () => world.deadLetters.discardDeadLetters({ filter: { pipeline }, reason: "spite" }, bo),
        code: p,
      },
      "DeadLetterService.PreviewDeadLetters": {
        call: () => world.deadLetters.previewDeadLetters({ filter: { fingerprint: "f" }, document: SPEC }, bo),
        code: "deadletter.not_found",
      },
      "EventService.ReplayEvent": { call: () => world.events.replayEvent({ event, payload: "{}" }, bo), code: "event.not_found" },
      "JobService.StartBackfill": { call: () => world.jobs.startBackfill({ pipeline, since: new Date(0) }, bo), code: p },
      "JobService.GetJob": { call: () => world.jobs.getJob({ job }, bo), code: "job.not_found" },
      "JobService.ListJobs": { call: () => world.jobs.listJobs({}, bo), hidden: true },
      "JobService.CancelJob": { call: () => world.jobs.cancelJob({ job }, bo), code: "job.not_found" },
      "JobService.WatchJob": { call: () => first(world.jobs.watchJob({ job }, bo)), code: "job.not_found" },
      "ImportService.GetImport": { call: () => world.imports.getImport({ import: importId }, bo), code: "import.not_found" },
      "ImportService.ListImports": { call: () => world.imports.listImports({}, bo), hidden: true },
      "ImportService.CancelImport": { call: () => world.imports.cancelImport({ import: importId }, bo), code: "import.not_found" },
      "ImportService.ResumeImport": { call: () => world.imports.resumeImport({ import: importId }, bo), code: "import.not_found" },
      "ImportService.ListRejects": { call: () => first(world.imports.listRejects({ import: importId }, bo)), code: "import.not_found" },
      "ConnectionService.PutConnection": {
        call: () => world.connections.putConnection({ connection: "mine", kind: "http", config: { baseUrl: "https://example.com" } }, bo),
        hidden: true,
      },
      "ConnectionService.GetConnection": {
        call: () => world.connections.getConnection({ connection: "warehouse" }, bo),
        code: "connection.not_found",
      },
      "ConnectionService.ListConnections": { call: () => world.connections.listConnections({}, bo), hidden: true },
      "ConnectionService.DeleteConnection": {
        call: () => world.connections.deleteConnection({ connection: "warehouse" }, bo),
        code: "connection.not_found",
      },
      "ConnectionService.TestConnection": {
        call: () => world.connections.testConnection({ connection: "warehouse" }, bo),
        code: "connection.not_found",
      },
      "LookupService.PutLookup": {
        call: () => world.lookups.putLookup({ lookup: "own", content: Buffer.from("a\n1\n"), mediaType: "text/csv" }, bo),
        hidden: true,
      },
      "LookupService.GetLookup": { call: () => world.lookups.getLookup({ lookup: "secret-places" }, bo), code: "lookup.not_found" },
      "LookupService.ListLookups": { call: () => world.lookups.listLookups({}, bo), hidden: true },
      "LookupService.DeleteLookup": { call: () => world.lookups.deleteLookup({ lookup: "secret-places" }, bo), code: "lookup.not_found" },
      "TenantService.CreateTenant": { call: () => world.tenants.createTenant({ name: "third" }, bo), code: "auth.scope_missing" },
      "TenantService.GetTenant": { call: () => world.tenants.getTenant({}, bo), hidden: true },
      "TenantService.SetLimits": { call: () => world.tenants.setLimits({ tenant: "first", limits: {} }, bo), code: "auth.scope_missing" },
      "TenantService.SetVariables": { call: () => world.tenants.setVariables({ variables: {} }, bo), hidden: true },
      "TenantService.CreateClient": {
        call: () => world.tenants.createClient({ name: "spy", scopes: ["events:read"], tenant: "first" }, bo),
        code: "tenant.not_found",
      },
      "TenantService.ListClients": { call: () => world.tenants.listClients({}, bo), hidden: true },
      "TenantService.RevokeClient": { call: () => world.tenants.revokeClient({ clientId }, bo), code: "client.not_found" },
      "TenantService.SetRetention": { call: () => world.tenants.setRetention({ retention: { eventsDays: 3 } }, bo), hidden: true },
      "TenantService.GetUsage": { call: () => world.tenants.getUsage({}, bo), hidden: true },
      "TenantService.EraseTenant": { call: () => world.tenants.eraseTenant({ tenant: "first", confirm: "first" }, bo), code: "auth.scope_missing" },
      "TenantService.ListAudit": { call: () => world.tenants.listAudit({}, bo), hidden: true },
      "SubscriptionService.CreateSubscription": {
        call: () => world.subscriptions.createSubscription({ url: "https://93.184.216.34/", pipelines: [pipeline] }, bo),
        code: p,
      },
      "SubscriptionService.GetSubscription": { call: () => world.subscriptions.getSubscription({ subscription }, bo), code: s },
      "SubscriptionService.ListSubscriptions": { call: () => world.subscriptions.listSubscriptions({}, bo), hidden: true },
      "SubscriptionService.UpdateSubscription": {
        call: () => world.subscriptions.updateSubscription({ subscription, url: "https://93.184.216.34/" }, bo),
        code: s,
      },
      "SubscriptionService.DeleteSubscription": { call: () => world.subscriptions.deleteSubscription({ subscription }, bo), code: s },
      "SubscriptionService.RotateSubscriptionSecret": {
        call: () => world.subscriptions.rotateSubscriptionSecret({ subscription }, bo),
        code: s,
      },
      "SubscriptionService.TestSubscription": { call: () => world.subscriptions.testSubscription({ subscription }, bo), code: s },
      "SubscriptionService.ListDeliveries": { call: () => world.subscriptions.listDeliveries({ subscription }, bo), code: s },
      "SystemService.Diagnose": { call: () => world.system.diagnose({}, bo), code: "auth.scope_missing" },
      "CatalogService.ListOperations": { call: () => world.catalog.listOperations({}, bo), hidden: true },
      "CatalogService.GetOperation": { call: () => world.catalog.getOperation({ operation: "first.secret" }, bo), code: "operation.not_found" },
    };
  };

  it("hides everything of the one from the other, on every method of control", async () => {
    const served = readContract().services.filter((service) => service.workload === "control" && !service.internal);
    const methods = served
      .flatMap((service) => service.methods.map((method) => `${service.name}.${method.name}`))
      .filter((name) => name !== "ImportService.UploadImport");
    expect(Object.keys(attempts()).sort()).toEqual(methods.sort());
    const told = (value: unknown): string =>
      JSON.stringify(value, (_, part: unknown) =>
        part instanceof Uint8Array ? Buffer.from(part).toString() : typeof part === "bigint" ? String(part) : part,
      );
    for (const [name, { call, code, hidden }] of Object.entries(attempts())) {
      let answer: unknown;
      try {
        answer = await call();
      } catch (error) {
        answer = OneDataError.from(error).toProblem();
        expect(answer, name).toMatchObject({ code });
      }
      if (code !== undefined) expect(answer, name).toHaveProperty("code");
      if (hidden === true) expect(told(answer), name).not.toMatch(/4711|s3cret|secret-|warehouse|hic-sunt/);
      else expect(told(answer), name).not.toMatch(/4711|s3cret/);
    }
    expect((await world.pipelines.getPipeline({ pipeline: "secret-orders" }, world.ana)).state).toBe("running");
    expect((await world.tenants.listClients({}, world.ana)).clients).toMatchObject([{ clientId, name: "secret-bot" }]);
  });

  it("lets an operator act for another tenant, and nobody give scopes that they do not hold", async () => {
    const operator = asUser(world.bo.identity.tenantId, "op", ["admin"]);
    expect(
      (await world.tenants.createClient({ name: "helper", scopes: ["pipelines:read"], tenant: "first" }, operator)).clientSecret.length,
    ).toBeGreaterThan(40);
    expect(await world.tenants.setLimits({ tenant: "first", limits: { pipelines: 1 } }, operator)).toMatchObject({
      name: "first",
      limits: { pipelines: 1 },
    });
    await expect(
      world.pipelines.applyPipeline({ pipeline: "second", document: "name: second\n", mediaType: "application/yaml" }, world.ana),
    ).rejects.toMatchObject({ code: "capture.quota_exceeded" });
    const reader = { identity: { ...world.ana.identity, scopes: ["tenant:write"] } };
    await expect(world.tenants.createClient({ name: "x", scopes: ["events:write"] }, reader)).rejects.toMatchObject({
      violations: [{ code: "scope.not_held" }],
    });
    await expect(world.tenants.createClient({ name: "x", scopes: ["evnts:write"] }, world.ana)).rejects.toMatchObject({
      violations: [{ code: "scope.unknown" }],
    });
  });
});
