/** The command line against a real server: the whole story, from a spec file to a rollback. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { type CliOptions, callCli, readLines, spawnCli } from "@onedata/cli/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../world/wait-for.ts";
import { openWorld, readClient, type World } from "../world/world.ts";

const DATA = join(dirname(createRequire(import.meta.url).resolve("vega-datasets")), "..", "data");

const spec = (factor: number): string => `name: shop
input: { schema: { type: object, required: [id, price] } }
steps:
  - { id: total, use: record.map, with: { set: { total: price * ${factor} } } }
  - { id: positive, use: record.validate, with: { schema: { properties: { total: { minimum: 0 } } } } }
tests:
  - { name: totals, given: [{ id: 1, price: 2 }], expect: [{ id: 1, price: 2, total: ${2 * factor} }] }
`;

describe("the command line", () => {
  const folder = mkdtempSync(join(tmpdir(), "onedata-cli-"));
  let world: World;
  beforeAll(async () => {
    world = await openWorld("solo");
  });
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const write = (name: string, content: string | Uint8Array): string => {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  };
  const withHome = (options: CliOptions): CliOptions => ({ ...options, env: { ONEDATA_HOME: world.home, ...options.env } });
  /** A process of its own where it is fed, ended or seen first; in this one elsewhere, which is faster. */
  const spawned = (args: readonly string[], options: CliOptions = {}) => spawnCli(args, withHome(options));
  const cli = (args: readonly string[], options: CliOptions = {}) => callCli(args, withHome(options));
  /** Runs it, expects success, and reads what it says to programs. */
  const ask = async (...args: string[]): Promise<ReturnType<typeof readLines>> => {
    const { code, stdout, stderr } = await cli([...args, "--json"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    return readLines(stdout);
  };

  it("applies, tests, sends, shows what became of it, and rolls back", async () => {
    const [v1, v2] = [write("shop.yaml", spec(2)), write("shop2.yaml", spec(3))];
    const summary = "shop is a new pipeline: 2 steps, results are kept in OneData, 1 test";
    expect(await cli(["diff", v1])).toMatchObject({ code: 0, stdout: `${summary}\n` });
    expect(await ask("diff", v1)).toMatchObject([{ op: "add", pointer: "", after: { name: "shop" } }]);
    expect(await cli(["apply", v1, "--dry-run"])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining(`${summary}; dry run: nothing was stored`),
    });
    expect(await spawned(["apply", v1])).toMatchObject({ code: 0, stdout: expect.stringMatching(/shop version 1 is active\n {2}✓ totals/) });
    expect(await cli(["diff", v1])).toMatchObject({ code: 0, stdout: "", stderr: expect.stringContaining("no difference") });
    expect(await cli(["apply", v2, "--dry-run"])).toMatchObject({ code: 0, stdout: expect.stringMatching(/^shop dry run: nothing was stored/) });
    expect(await ask("test", v1, "--remote")).toMatchObject([{ name: "totals", passed: true }]);
    expect(await ask("diff", v2)).toMatchObject([
      { op: "replace", pointer: "/steps/0/with/set/total", before: "price * 2", after: "price * 3" },
      { op: "replace" },
    ]);

    const [sent] = await ask("send", "shop", '{"id":1,"price":1.50,"big":12345678901234567890}', "--wait", "20");
    expect(sent).toMatchObject({ state: "done", verdict: "delivered" });
    const [dead] = readLines((await cli(["send", "shop", "--wait", "20", "--json"], { input: '{"id":2,"price":-1}' })).stdout);
    expect(dead).toMatchObject({ verdict: "dead" });
    const shown = await cli(["events", String(sent?.["id"]), "--json"]);
    expect(shown.stdout).toContain('{"id":1,"price":1.50,"big":12345678901234567890}');
    const detail = await spawned(["events", String(dead?.["id"])]);
    expect(detail.stdout).toMatch(/dead at positive {2}\/total: must be >= 0, is -2 \[record\.invalid\]/);
    expect(detail.stdout).toMatch(/attempt 1 .*\n +total\+positive transform, [\d.]+ ms/);
    expect(await ask("dead-letters", "groups", "shop")).toMatchObject([{ count: 1, step: "positive", code: "record.invalid" }]);
    expect((await cli(["dead-letters", "groups", "shop"])).stdout).toMatch(/FIRST SEEN +LAST SEEN .*\n +1 .*version 1 +\d\S* +\d\S* /);
    expect(await ask("dead-letters", "list", "shop")).toMatchObject([{ event: dead?.["id"], payload: { id: 2, price: -1, total: -2 } }]);
    expect(await ask("outputs", "shop")).toMatchObject([{ event: sent?.["id"], record: { total: 3 } }]);

    expect(await ask("apply", v2)).toMatchObject([{ version: 2, created: true }]);
    expect(await ask("versions", "shop")).toMatchObject([{ version: 2, active: true }, { version: 1 }]);
    expect(await ask("rollback", "shop")).toMatchObject([{ activeVersion: 1 }]);
    expect((await cli(["rollback", "shop"])).stderr).toContain("no version before the active one");
    expect(await ask("activate", "shop", "2")).toMatchObject([{ activeVersion: 2 }]);
  });

  it("says why an event waits while its pipeline is paused", async () => {
    await ask("apply", write("shop3.yaml", spec(4)));
    expect(await cli(["pause", "shop", "--reason", "moving house"])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/shop is paused .*moving house/),
    });
    const [sent] = await ask("send", "shop", '{"id":9,"price":1}');
    expect((await cli(["events", String(sent?.["id"])])).stdout).toMatch(/waiting {2}.*moving house/);
    expect((await cli(["send", "shop", '{"id":10,"price":1}', "--wait", "1"])).stderr).toMatch(/waits for: .*moving house/);
    await ask("resume", "shop");
    await waitFor(
      "delivered",
      () => ask("events", String(sent?.["id"])),
      ([event]) => event?.["verdict"] === "delivered",
    );
  });

  it("tails events as they finish, until it is stopped", async () => {
    await ask("apply", write("shop4.yaml", spec(5)));
    const tailing = spawned(["tail", "shop", "--json"], {
      onStart: (child) => {
        child.stdout?.once("data", () => child.kill("SIGINT"));
        const sending = setInterval(() => void ask("send", "shop", '{"id":5,"price":1}').catch(() => undefined), 1000);
        child.once("exit", () => clearInterval(sending));
      },
    });
    const { code, stdout } = await tailing;
    expect(code).toBe(0);
    expect(readLines(stdout)[0]).toMatchObject({ pipeline: "shop", verdict: "delivered" });
  });

  it("imports the movies and follows them to the end", async () => {
    const { code, stdout, stderr } = await spawned(["import", "movies", join(DATA, "movies.json")]);
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/^imp_\w+ done {2}3,201 records {2}3,178 delivered {2}0 filtered {2}23 dead {2}0 rejected\n$/);
    expect(stderr).toContain("onedata dead-letters groups movies");
    const [row] = await world.warehouse<{ n: number }[]>`select count(*)::int n from movies`;
    expect(row?.n).toBeGreaterThan(3000);
  });

  it("imports gzip and CSV from stdin; rejected lines are shown", async () => {
    await ask("apply", write("shop5.yaml", spec(6)));
    const records = Array.from({ length: 2000 }, (_, id) => JSON.stringify({ id, price: 1 })).join("\n");
    expect(await ask("import", "shop", write("many.ndjson.gz", gzipSync(records)))).toMatchObject([
      { state: "done", accepted: 2000, delivered: 2000 },
    ]);
    const bad = await cli(["import", "shop", "-", "--format", "csv", "--json"], { input: "id,price\n1,2\n2,3,4\n3,4\n" });
    const [answer] = readLines(bad.stdout);
    expect(answer).toMatchObject({ accepted: 2, rejected: 1 });
    expect(await ask("rejects", String(answer?.["id"]))).toMatchObject([{ line: 3, excerpt: "2,3,4" }]);
    expect((await ask("imports", "shop"))[0]).toMatchObject({ id: answer?.["id"] });
  });

  it("goes on with an import that was cut off, and refuses another file", async () => {
    await ask("apply", write("shop6.yaml", spec(7)));
    const line = (id: number): string => `${JSON.stringify({ id, price: 1, note: "x".repeat(100) })}\n`;
    const all = Array.from({ length: 30_000 }, (_, id) => line(id)).join("");
    const path = write("long.ndjson", all);
    const cut = await spawned(["import", "shop", "-", "--format", "ndjson", "--key", "long"], {
      onStart: (child) => {
        child.stdin?.write(all.slice(0, 2_000_000));
        // The second half never comes: the sender dies when a part of the first is captured.
        void waitFor(
          "captured",
          () => world.api.get("/v1/imports?pipeline=shop"),
          ({ json }) => json.imports[0]?.state === "receiving" && json.imports[0].accepted > 0,
        ).finally(() => child.kill("SIGKILL"));
      },
    });
    expect(cut.code).not.toBe(0);
    await waitFor(
      "interrupted",
      () => world.api.get("/v1/imports?pipeline=shop"),
      ({ json }) => json.imports[0]?.state === "interrupted",
    );
    const other = write("other.ndjson", all.replace('"id":3,', '"id":33333,'));
    expect(await cli(["import", "shop", other, "--key", "long", "--resume"])).toMatchObject({ code: 1, stderr: expect.stringContaining("error") });
    const resumed = await spawned(["import", "shop", path, "--key", "long", "--resume"]);
    expect(resumed.stderr).toMatch(/going on at line [\d,]+, byte [\d,]+/);
    expect(resumed).toMatchObject({ code: 0, stdout: expect.stringContaining("30,000 records  30,000 delivered") });
    expect(await cli(["import", "shop", path, "--key", "long", "--resume"])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining("30,000 records"),
    });
  });

  it("keeps connections with secrets from stdin or the environment, and lists", async () => {
    const put = ["connections", "put", "api", "--kind", "http", "--set", "baseUrl=https://example.com/in"];
    const env = { API_HEADERS: '{"Authorization": "Bearer s3cret"}' };
    expect(await cli([...put, "--secret-env", "headers=API_HEADERS"], { env })).toMatchObject({ code: 0 });
    expect(await cli([...put, "--secret-env", "headers=NOT_SET"])).toMatchObject({ code: 2, stderr: expect.stringContaining("NOT_SET") });
    const listed = await cli(["connections", "list", "--json"]);
    expect(readLines(listed.stdout).find(({ name }) => name === "api")).toMatchObject({ kind: "http", secretNames: ["headers"] });
    expect(listed.stdout).not.toContain("s3cret");
    expect(await cli(["connections", "test", "warehouse"])).toMatchObject({ code: 0, stdout: "warehouse works\n" });
    expect((await cli(["connections", "delete", "warehouse"])).code).toBe(1);
    expect((await cli(["connections", "delete", "api"])).code).toBe(0);

    expect(await ask("lookups", "put", "colours", write("colours.csv", "code,name\nr,red\ng,green\n"))).toMatchObject([
      { rows: 2, columns: ["code", "name"] },
    ]);
    expect((await ask("lookups")).map(({ name }) => name)).toContain("colours");
    expect((await cli(["lookups", "delete", "colours"])).code).toBe(0);
    expect((await ask("operations")).length).toBeGreaterThan(10);
    expect((await cli(["operations", "record.cast"])).stdout).toContain("fields* ");
  });

  it("signs in as a client with few scopes, keeps it for its owner only, and is told what that client may not do", async () => {
    const [client] = await ask("clients", "create", "reader", "--scope", "pipelines:read", "events:read");
    const env = { HOME: folder, ONEDATA_HOME: join(folder, "nowhere") };
    const login = ["login", "--url", world.url, "--client-id", String(client?.["clientId"]), "--secret-stdin"];
    expect(await cli(login, { env, input: "wrong" })).toMatchObject({ code: 1, stderr: expect.stringContaining("Invalid client authentication") });
    expect(await spawned(login, { env, input: `${String(client?.["clientSecret"])}\n` })).toMatchObject({
      code: 0,
      stdout: expect.stringContaining("scopes: events:read pipelines:read"),
    });
    const path = join(folder, ".config", "onedata", "credentials.json");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(JSON.parse(readFileSync(path, "utf8"))).toMatchObject({ url: world.url, scopes: ["events:read", "pipelines:read"] });
    expect((await cli(["pipelines"], { env })).stdout).toMatch(/^PIPELINE [^]*\nmovies /);
    expect(await cli(["send", "movies", "{}"], { env })).toMatchObject({ code: 1, stderr: expect.stringContaining("auth.scope_missing") });
    expect((await cli(["clients", "revoke", String(client?.["clientId"])])).code).toBe(0);
    // Gateways hear of it; what they keep of clients is a moment old.
    await waitFor(
      "refused",
      () => cli(["pipelines"], { env }),
      ({ code }) => code === 1,
    );
    expect(readClient(world.home).clientId).not.toBe(client?.["clientId"]);
  });

  it("makes a tenant with limits and a first client, which sees its own tenant alone", async () => {
    expect(await cli(["tenant", "create", "acme", "--events-per-second", "500"])).toMatchObject({
      code: 0,
      stdout: "acme may have at most 500 events/s\n",
      stderr: expect.stringContaining("clients create first --tenant acme"),
    });
    const [client] = await ask("clients", "create", "first", "--tenant", "acme", "--scope", "pipelines:read", "tenant:read");
    const env = { HOME: join(folder, "acme"), ONEDATA_HOME: join(folder, "nowhere") };
    const login = ["login", "--url", world.url, "--client-id", String(client?.["clientId"]), "--secret-stdin"];
    expect((await cli(login, { env, input: String(client?.["clientSecret"]) })).code).toBe(0);
    expect((await cli(["pipelines"], { env })).stdout).not.toContain("movies");
    expect(await ask("tenant", "limits", "acme", "--pipelines", "3", "--backlog-mib", "1")).toMatchObject([
      { name: "acme", limits: { pipelines: 3, backlogBytes: 1048576 } },
    ]);
    expect((await cli(["tenant", "show"], { env })).stdout).toMatch(
      /tenant +acme\nlimits +\{"eventsPerSecond":0,"backlogBytes":1048576,"pipelines":3\}/,
    );
    expect(await cli(["tenant", "create", "other"], { env })).toMatchObject({ code: 1, stderr: expect.stringContaining("auth.scope_missing") });
    expect(await cli(["tenant", "limits", "acme"])).toMatchObject({ code: 2, stderr: expect.stringContaining("--none") });
    expect((await cli(["tenant", "limits", "acme", "--none"])).stdout).toBe("acme has no limits\n");
  });

  it("shows problems with code, place and line, and the server's own problem to programs", async () => {
    const bad = write("bad.yaml", "name: shop\nsteps:\n  - { id: a, use: record.mapp }\n  - { id: b, use: record.filter }\n");
    const failed = await cli(["apply", bad]);
    expect(failed.code).toBe(1);
    expect(failed.stderr).toMatch(/\/steps\/0\/use {2}line 3: unknown operation "record\.mapp"; did you mean "record\.map"/);
    expect(failed.stderr).toMatch(/\/steps\/1\/with {2}line 4: the member "where" is missing/);
    expect(JSON.parse((await cli(["apply", bad, "--json"])).stderr)).toMatchObject({
      code: "pipeline.invalid",
      status: 422,
      errors: [{ pointer: "/steps/0/use" }, {}],
    });
    expect(await cli(["send", "shop", "{oops"])).toMatchObject({ code: 1, stderr: expect.stringContaining("capture.json_malformed") });
    expect(await cli(["stats", "nothing-here"])).toMatchObject({ code: 1, stderr: expect.stringContaining("pipeline.not_found") });
    expect(await cli(["apply", write("shop7.yaml", spec(9)), "--if-match", "0000000000000000"])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("request.precondition_failed"),
    });
  });
});
