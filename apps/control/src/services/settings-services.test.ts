/** Connections, lookups, clients and the catalogue, through the rpc seam. */
import { toTenantId } from "@onedata/core";
import { connectionForRun, createLookups, createSecretBox, verifySecret } from "@onedata/store/control";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ControlWorld, openControlWorld, TEST_SECRET_KEY } from "../control-world.ts";

const DATABASE = { host: "db", database: "d", user: "u" };

describe("settings of a tenant", () => {
  let world: ControlWorld;
  beforeAll(async () => {
    world = await openControlWorld();
  });
  afterAll(() => world[Symbol.asyncDispose]());

  describe("connections", () => {
    it("encrypts secrets, never shows them, and keeps those that are left out", async () => {
      const put = (secrets: Record<string, string>) =>
        world.connections.putConnection(
          { connection: "db", kind: "postgres", config: { host: "db", port: 5432, database: "d", user: "u" }, secrets },
          world.ana,
        );
      expect(await put({ password: "right", url: "postgres://u@db/d" })).toMatchObject({
        config: { host: "db", port: 5432 },
        secretNames: ["password", "url"],
      });
      expect(await put({ url: "" })).toMatchObject({ secretNames: ["password"] });
      const [row] = await world.store.sql<{ text: string }[]>`select c::text as text from onedata.connections c`;
      expect(row?.text).not.toContain("right");
      const [audit] = await world.store.sql<{ text: string }[]>`select string_agg(a::text, '') as text from onedata.audit a`;
      expect(audit?.text).not.toContain("right");
      const box = createSecretBox(TEST_SECRET_KEY);
      const { tenantId } = world.ana.identity;
      expect(JSON.parse((await connectionForRun(world.store.sql, tenantId, "db", box)).configJson)).toEqual({
        host: "db",
        port: 5432,
        database: "d",
        user: "u",
        password: "right",
      });
      await world.store
        .sql`insert into onedata.connections (tenant_id, name, kind, secret) select ${world.bo.identity.tenantId}, name, kind, secret from onedata.connections where tenant_id = ${tenantId}`;
      await expect(connectionForRun(world.store.sql, world.bo.identity.tenantId, "db", box)).rejects.toMatchObject({ code: "config.problems" });
      await expect(connectionForRun(world.store.sql, tenantId, "db", createSecretBox(Buffer.alloc(32, 8).toString("base64")))).rejects.toMatchObject({
        code: "config.problems",
      });
    });

    it("refuses secrets in the open part", async () => {
      const put = (config: Record<string, unknown>) => world.connections.putConnection({ connection: "open", kind: "http", config }, world.ana);
      await expect(put({ password: "x" })).rejects.toMatchObject({ code: "request.invalid", violations: [{ pointer: "/config/password" }] });
      await expect(put({ url: "postgres://ana:pw@db/x" })).rejects.toMatchObject({
        violations: [{ pointer: "/config/url", code: "connection.secret_in_config" }],
      });
    });

    it("checks the members of its kind, with secrets and those that are kept, and never shows a secret's value", async () => {
      const put = (kind: string, config: Record<string, unknown>, secrets: Record<string, string> = {}) =>
        world.connections.putConnection({ connection: "checked", kind, config, secrets }, world.ana);
      await expect(put("postgres", { host: "db", port: "5432", datbase: "d" }, { pasword: "hidden" })).rejects.toMatchObject({
        code: "request.invalid",
        violations: expect.arrayContaining([
          expect.objectContaining({ pointer: "/config/port", code: "type" }),
          expect.objectContaining({ pointer: "/config/datbase", code: "additionalProperties" }),
          expect.objectContaining({ pointer: "/secrets/pasword", code: "additionalProperties" }),
        ]),
      });
      await expect(put("http", { baseUrl: "ftp://example.com" })).rejects.toMatchObject({ violations: [{ pointer: "/config/baseUrl" }] });
      await expect(put("http", { baseUrl: "https://example.com", headers: { Authorization: "Bearer x" } })).rejects.toMatchObject({
        violations: [{ pointer: "/config/headers/Authorization", code: "connection.secret_in_config" }],
      });
      const refused = await put("http", {}, { baseUrl: "hidden" }).catch((error: unknown) => JSON.stringify(error) + String(error));
      expect(refused).toContain("does not fit");
      expect(refused).not.toContain("hidden");
      expect(await put("postgres", {}, { url: "postgres://u:p@db/d" })).toMatchObject({ secretNames: ["url"] });
      expect(await put("postgres", { schema: "sales" })).toMatchObject({ config: { schema: "sales" }, secretNames: ["url"] });
      await expect(put("postgres", { schema: "sales" }, { url: "" })).rejects.toMatchObject({ code: "request.invalid" });
    });

    it("keeps no secret for another server or user than it was given for", async () => {
      let made = 0;
      const moves = async (
        kind: string,
        given: { config: Record<string, unknown>; secrets: Record<string, string> },
        next: { config: Record<string, unknown>; secrets?: Record<string, string> },
      ) => {
        const connection = `moved-${made++}`;
        await world.connections.putConnection({ connection, kind, ...given }, world.ana);
        const moved = world.connections.putConnection({ connection, kind, secrets: {}, ...next }, world.ana);
        await expect(moved, JSON.stringify(next)).rejects.toMatchObject({
          code: "request.invalid",
          violations: Object.keys(given.secrets)
            .filter((name) => !(name in (next.secrets ?? {})))
            .map((name) => ({ pointer: `/secrets/${name}`, code: "connection.secret_kept", detail: expect.stringContaining("send it again") })),
        });
        // What is stored is what was: nothing sends the secret elsewhere.
        expect(await world.connections.getConnection({ connection }, world.ana)).toMatchObject({ config: given.config });
        await world.connections.putConnection({ connection, kind, config: next.config, secrets: { ...given.secrets, ...next.secrets } }, world.ana);
      };
      const api = { config: { baseUrl: "https://api.example.com/v1/" }, secrets: { headers: '{"Authorization":"Bearer x"}' } };
      for (const baseUrl of ["https://evil.example.com/v1/", "http://api.example.com/v1/", "https://api.example.com:8443/v1/"])
        await moves("http", api, { config: { baseUrl } });
      const database = { config: { ...DATABASE, tls: "verify-full" }, secrets: { password: "p" } };
      for (const change of [{ host: "evil" }, { port: 5433 }, { user: "other" }, { tls: "disable" }, { ca: "of the attacker" }])
        await moves("postgres", database, { config: { ...database.config, ...change } });
      // The address may be a secret itself; open members, and a new address, lead its password and the one beside it elsewhere.
      const url = { config: {}, secrets: { url: "postgres://u:p@db/d" } };
      await moves("postgres", url, { config: { host: "evil" } });
      await moves("postgres", { config: {}, secrets: { ...url.secrets, password: "p" } }, { config: {}, secrets: { url: "postgres://u@evil/d" } });

      await world.connections.putConnection({ connection: "stays", kind: "http", ...api }, world.ana);
      const path = { baseUrl: "https://API.example.com:443/v2/" };
      expect(await world.connections.putConnection({ connection: "stays", kind: "http", config: path }, world.ana)).toMatchObject({
        secretNames: ["headers"],
      });
    });

    it("changes its kind when the secrets of the old one are removed", async () => {
      const connection = "turned";
      await world.connections.putConnection({ connection, kind: "postgres", config: DATABASE, secrets: { password: "p" } }, world.ana);
      const next = { connection, kind: "http", config: { baseUrl: "https://example.com" } };
      await expect(world.connections.putConnection(next, world.ana)).rejects.toMatchObject({
        code: "request.invalid",
        violations: [{ pointer: "/secrets/password", detail: expect.stringContaining('send "" to remove it') }],
      });
      expect(await world.connections.putConnection({ ...next, secrets: { password: "" } }, world.ana)).toMatchObject({
        kind: "http",
        secretNames: [],
      });
    });

    it("tries a connection with its secrets", async () => {
      await world.connections.putConnection({ connection: "tried", kind: "postgres", config: DATABASE, secrets: { password: "right" } }, world.ana);
      expect(await world.connections.testConnection({ connection: "tried" }, world.ana)).toEqual({ ok: true, problem: "" });
      await world.connections.putConnection({ connection: "tried", kind: "postgres", config: DATABASE, secrets: { password: "wrong" } }, world.ana);
      expect(await world.connections.testConnection({ connection: "tried" }, world.ana)).toEqual({
        ok: false,
        problem: "the server refuses the password",
      });
    });

    it("is not deleted while an active version names it", async () => {
      await world.connections.putConnection({ connection: "used", kind: "postgres", config: DATABASE }, world.ana);
      const document = "name: user\nsinks: [{ use: postgres.upsert, with: { connection: used, table: orders } }]\n";
      await world.pipelines.applyPipeline({ pipeline: "user", document, mediaType: "application/yaml" }, world.ana);
      await expect(world.connections.deleteConnection({ connection: "used" }, world.ana)).rejects.toMatchObject({
        code: "connection.in_use",
        message: expect.stringContaining("user"),
      });
      await world.pipelines.applyPipeline({ pipeline: "user", document: "name: user\n", mediaType: "application/yaml" }, world.ana);
      await world.connections.deleteConnection({ connection: "used" }, world.ana);
      await expect(world.connections.getConnection({ connection: "used" }, world.ana)).rejects.toMatchObject({ code: "connection.not_found" });
    });
  });

  describe("lookups", () => {
    const put = (lookup: string, content: string, mediaType = "text/csv") =>
      world.lookups.putLookup({ lookup, content: Buffer.from(content), mediaType }, world.ana);

    it("reads CSV and JSON, and is versioned by content", async () => {
      const csv = await put("countries", 'code,name\nNO,Norway\nSE,"Swe,den"\n');
      expect(csv).toMatchObject({ rows: 2, columns: ["code", "name"] });
      expect(await put("countries", 'code,name\r\nNO,Norway\r\nSE,"Swe,den"\r\n')).toEqual(csv);
      expect(await put("rates", '[{"code":"NOK","rate":1.5,"id":12345678901234567890},{"code":"SEK"}]', "application/json")).toMatchObject({
        rows: 2,
        columns: ["code", "rate", "id"],
      });
      expect((await world.lookups.listLookups({}, world.ana)).lookups.map((lookup) => lookup.name)).toEqual(["countries", "rates"]);
    });

    it("says what is wrong with a list", async () => {
      await expect(put("bad", "a,b\n1,2\n1,2,3\n")).rejects.toMatchObject({ code: "lookup.invalid", message: expect.stringContaining("line 3") });
      await expect(put("bad", '[{"a":[1]}]', "application/json")).rejects.toMatchObject({ violations: [{ pointer: "/0/a" }] });
      await expect(put("bad", "[1", "application/json")).rejects.toMatchObject({ code: "lookup.invalid" });
      await expect(put("bad", "a", "text/plain")).rejects.toMatchObject({ code: "request.unsupported_media_type" });
      await expect(put("bad", "a\n")).rejects.toMatchObject({ violations: [{ code: "lookup.empty" }] });
    });

    it("answers batches of keys by any column, and sees a new list within its age", async () => {
      let nowMs = 0;
      const lookups = createLookups(world.store.sql, { maxAgeMs: 1_000, nowMs: () => nowMs });
      const countries = lookups.forTenant(world.ana.identity.tenantId);
      await put("places", "code,name\nNO,Norway\nSE,Sweden\n");
      expect(await countries.get("places", "", ["NO", "XX"])).toEqual(new Map([["NO", { code: "NO", name: "Norway" }]]));
      expect(await countries.get("places", "name", ["Sweden"])).toEqual(new Map([["Sweden", { code: "SE", name: "Sweden" }]]));
      await expect(countries.get("places", "nam", [])).rejects.toMatchObject({ code: "lookup.not_found" });
      await expect(lookups.forTenant(toTenantId(999n)).get("places", "", ["NO"])).rejects.toMatchObject({ code: "lookup.not_found" });
      await put("places", "code,name\nNO,Norge\n");
      expect((await countries.get("places", "", ["NO"])).get("NO")).toEqual({ code: "NO", name: "Norway" });
      nowMs = 1_001;
      expect((await countries.get("places", "", ["NO"])).get("NO")).toEqual({ code: "NO", name: "Norge" });
      await world.lookups.deleteLookup({ lookup: "places" }, world.ana);
      nowMs = 3_000;
      await expect(countries.get("places", "", ["NO"])).rejects.toMatchObject({ code: "lookup.not_found" });
    });
  });

  it("shows a client's secret once and keeps only its hash", async () => {
    const { clientId, clientSecret } = await world.tenants.createClient({ name: "bot", scopes: ["events:write"] }, world.ana);
    const [row] = await world.store.sql<{ secret_hash: string }[]>`select secret_hash from onedata.principals where subject = ${clientId}`;
    expect(await verifySecret(clientSecret, row?.secret_hash ?? "")).toBe(true);
    expect(await verifySecret(`${clientSecret}x`, row?.secret_hash ?? "")).toBe(false);
    expect((await world.tenants.listClients({}, world.ana)).clients).toMatchObject([{ clientId, name: "bot", scopes: ["events:write"] }]);
    await world.tenants.revokeClient({ clientId }, world.ana);
    expect((await world.tenants.listClients({}, world.ana)).clients).toEqual([]);
  });

  it("lists operations and sinks with their schemas, also after a service went down", async () => {
    const { operations } = await world.catalog.listOperations({}, world.ana);
    expect(operations.map((entry) => [entry.kind, entry.operation?.name])).toContainEqual(["operation", "record.map"]);
    expect(operations.map((entry) => [entry.kind, entry.service, entry.operation?.name])).toContainEqual(["sink", "engine", "onedata.outputs"]);
    world.load.up = false;
    await world.pipelines
      .applyPipeline({ pipeline: "x", document: "name: x\nsteps: [{ id: a, use: no.such }]\n", mediaType: "application/yaml" }, world.ana)
      .catch(() => undefined);
    expect(await world.catalog.getOperation({ operation: "postgres.upsert" }, world.ana)).toMatchObject({ kind: "sink", service: "load" });
    await expect(world.catalog.getOperation({ operation: "record.mpa" }, world.ana)).rejects.toMatchObject({
      code: "operation.not_found",
      message: expect.stringContaining("record.map"),
    });
  });

  it("refuses variables that cannot be used", async () => {
    await expect(world.tenants.setVariables({ variables: { "a b": "1" } }, world.ana)).rejects.toMatchObject({
      violations: [{ pointer: "/variables/a b" }],
    });
    expect(await world.tenants.setVariables({ variables: { region: "eu" } }, world.ana)).toMatchObject({ variables: { region: "eu" } });
  });
});
