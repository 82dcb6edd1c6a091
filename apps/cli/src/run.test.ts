/** `onedata run`, `test` and `init`: the real program, no server. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { connect } from "@onedata/store";
import { openTestDatabase } from "@onedata/store/testing";
import { afterAll, describe, expect, it } from "vitest";
import { callCli, readLines, spawnCli } from "./testing.ts";

const EXAMPLES = fileURLToPath(new URL("../../../examples", import.meta.url));
const DATA = join(dirname(createRequire(import.meta.url).resolve("vega-datasets")), "..", "data");
const folder = mkdtempSync(join(tmpdir(), "onedata-cli-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const example = (name: string): string => join(EXAMPLES, `${name}.yaml`);
function write(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

describe("onedata run", () => {
  it("runs the movies from a JSON array; the dead stand in a file with line and cause, and the exit code says so", async () => {
    const movies: { Title: unknown; "Release Date": string }[] = JSON.parse(readFileSync(join(DATA, "movies.json"), "utf8"));
    const isDead = (movie: (typeof movies)[number]): boolean =>
      movie.Title === null || movie.Title === "" || Number(movie["Release Date"].slice(-4)) > 2011;
    const dead = join(folder, "dead.ndjson");
    const { code, stdout, stderr } = await spawnCli(["run", example("movies"), "--dead", dead], { input: readFileSync(join(DATA, "movies.json")) });
    expect(code).toBe(1);
    expect(readLines(stdout)).toHaveLength(movies.filter((movie) => !isDead(movie)).length);
    const letters = readLines(readFileSync(dead, "utf8"));
    expect(letters).toHaveLength(movies.filter(isDead).length);
    expect(letters[0]).toMatchObject({
      kind: "dead",
      step: "plausible",
      code: "record.invalid",
      line: expect.any(Number),
      record: expect.any(Object),
    });
    expect(stderr).toContain(`${letters.length} dead`);
  });

  it("runs airports from CSV with the lookups beside the spec", async () => {
    const { code, stdout } = await spawnCli(["run", example("airports"), join(DATA, "airports.csv"), "--quiet"]);
    expect(code).toBe(0);
    const rows = readLines(stdout);
    expect(rows).toHaveLength(3376);
    expect(rows[0]).toMatchObject({ iata: "00M", latitude: 31.95376472, state_name: "Mississippi" });
  });

  it("keeps the late flights, with a lookup of one's own", async () => {
    const flights: { delay: number; distance: number }[] = JSON.parse(readFileSync(join(DATA, "flights-20k.json"), "utf8"));
    const hubs = write("my-hubs.csv", "iata,city\nDTW,Motor City\n");
    const { code, stdout, stderr } = await spawnCli([
      "run",
      example("flights"),
      join(DATA, "flights-20k.json"),
      "--lookup",
      `hubs=${hubs}`,
      "--json",
    ]);
    expect(code).toBe(0);
    const rows = readLines(stdout);
    const late = flights.filter(({ delay, distance }) => delay > 15 && distance >= 100).length;
    expect(rows).toHaveLength(late);
    expect(new Set(rows.map(({ hub }) => hub))).toEqual(new Set(["Motor City", null]));
    expect(readLines(stderr)).toEqual([
      { summary: { read: flights.length, rejected: 0, delivered: late, filtered: flights.length - late, dead: 0, results: late } },
    ]);
  });

  it("reads a connection's table whose URL is given, checks it first, and says what to give without one", async () => {
    await using database = await openTestDatabase();
    const sql = connect(database.url, { max: 1, applicationName: "test" });
    await sql`create table countries (code text primary key, name text)`;
    await sql`insert into countries values ('NO', 'Norway')`;
    await sql.end({ timeout: 5 });
    const spec = (table: string): string =>
      write(
        `${table}.yaml`,
        `name: p\nsteps:\n  - { id: country, use: enrich.lookup, with: { connection: shop, table: ${table}, on: code, take: [name] } }\ntests:\n  - { name: real, given: [{ code: "NO" }], expect: [{ code: "NO", name: Norway }] }\n`,
      );
    const given = ["--connection", `shop=${database.url}`];
    const ran = await callCli(["run", spec("countries"), ...given, "--quiet"], { input: '{"code":"NO"}\n' });
    expect(ran).toEqual({ code: 0, stdout: '{"code":"NO","name":"Norway"}\n', stderr: "" });
    expect((await callCli(["test", spec("countries"), ...given])).code).toBe(0);
    const wrong = await callCli(["run", spec("planets"), ...given]);
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toMatch(/\/steps\/0\/with\/table.*public\.planets does not exist/s);
    const without = await callCli(["run", spec("countries")], { input: '{"code":"NO"}\n' });
    expect(without.code).toBe(1);
    expect(without.stderr).toMatch(/\/steps\/0\/with\/connection.*say --connection shop=postgres:\/\//s);
  });

  it("rejects what the input schema refuses and what is no JSON, as the server would; --allow-dead ends with 0", async () => {
    const input = '{"id":1,"price":2,"quantity":3}\n{"id":2}\n{oops\n{"id":3,"price":-1,"quantity":3}\n';
    const failing = await spawnCli(["run", example("orders")], { input });
    expect(failing).toMatchObject({ code: 1, stdout: '{"id":1,"price":2,"quantity":3,"total":6}\n' });
    expect(failing.stderr).toMatch(/line 2: rejected at input: .*"price" is missing \[capture\.schema_mismatch\]/);
    expect(failing.stderr).toMatch(/line 3: rejected at input: .*\[capture\.json_malformed\]/);
    expect(failing.stderr).toMatch(/line 4: dead at valid: \/total: must be >= 0, is -3 \[record\.invalid\]/);
    expect(failing.stderr).toContain("4 records  1 delivered  0 filtered  1 dead  2 rejected");
    expect((await spawnCli(["run", example("orders"), "--allow-dead"], { input })).code).toBe(0);
  });

  it("keeps numbers that no double holds", async () => {
    const { stdout } = await spawnCli(["run", example("orders")], { input: '{"id":12345678901234567890,"price":1,"quantity":1}' });
    expect(stdout).toBe('{"id":12345678901234567890,"price":1,"quantity":1,"total":1}\n');
  });

  it("names every problem of a spec with its line", async () => {
    const spec = write(
      "bad.yaml",
      'name: bad\nsteps:\n  - id: a\n    use: record.mapp\n  - id: b\n    use: record.map\n    with: { set: { x: "1 +" } }\n',
    );
    const { code, stderr, stdout } = await spawnCli(["run", spec], { input: "{}" });
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(/\/steps\/0\/use {2}line 4: unknown operation "record\.mapp"; did you mean "record\.map"/);
    expect(stderr).toMatch(/\/steps\/1\/with\/set\/x {2}line 7: expression "1 \+"/);
  });

  it("says which file is missing", async () => {
    expect(await spawnCli(["run", join(folder, "none.yaml")])).toMatchObject({ code: 1, stderr: expect.stringContaining("none.yaml: no such file") });
    expect(await spawnCli(["run", example("orders"), join(folder, "none.csv")])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("none.csv: no such file"),
    });
  });
});

describe("onedata init and test", () => {
  it("writes a pipeline whose own tests pass, and does not overwrite it", async () => {
    const path = join(folder, "shop orders.yaml");
    expect((await spawnCli(["init", path])).code).toBe(0);
    expect(await spawnCli(["test", path])).toMatchObject({ code: 0, stdout: expect.stringContaining("2 tests, all passed") });
    expect(await spawnCli(["init", path])).toMatchObject({ code: 2, stderr: expect.stringContaining("is there already") });
  });

  it("says what to do with the cells of a CSV, which are texts, and what it says works", async () => {
    const spec = join(folder, "cells.yaml");
    await callCli(["init", spec]);
    const input = "id,price,quantity\n1,2,3\n";
    const refused = await callCli(["run", spec], { input });
    expect(refused).toMatchObject({ code: 1, stdout: "", stderr: expect.stringMatching(/rejected[^]*every cell of CSV[^]*record\.cast/) });
    // As the template says: no types, and its step `cast`.
    const text = readFileSync(spec, "utf8");
    const cast = text
      .replace(/^ {4}properties:\n {6}price: .*\n {6}quantity: .*\n/m, "")
      .replace(/^ {2}# (- id: cast)\n {2}# ( {2}use: .*)\n {2}# ( {2}with: .*)\n/m, "  $1\n  $2\n  $3\n");
    const done = await callCli(["run", write("cells-cast.yaml", cast)], { input });
    expect(done).toMatchObject({ code: 0, stderr: expect.not.stringContaining("record.cast") });
    expect(readLines(done.stdout)).toEqual([{ id: 1, price: 2, quantity: 3, total: 6 }]);
  });

  it("shows what a failing test expected, and ends with 1", async () => {
    const spec = write(
      "failing.yaml",
      "name: failing\nsteps:\n  - { id: a, use: record.map, with: { set: { b: a + 1 } } }\ntests:\n  - { name: adds, given: [{ a: 1 }], expect: [{ a: 1, b: 3 }] }\n",
    );
    expect(await spawnCli(["test", spec])).toMatchObject({
      code: 1,
      stdout: expect.stringContaining('✗ adds\n      record 0 differs: expected {"a":1,"b":3}, got {"a":1,"b":2}'),
    });
    expect(readLines((await spawnCli(["test", spec, "--json"])).stdout)).toMatchObject([{ name: "adds", passed: false }]);
  });
});

describe("usage", () => {
  it("has an example for every command", async () => {
    const commandsOf = (help: string): string[] =>
      [...help.matchAll(/^ {2}([a-z][a-z-]*)(?: |$)/gm)].map(([, name = ""]) => name).filter((name) => name !== "onedata");
    const names = commandsOf((await callCli(["--help"])).stdout);
    expect(names).toEqual(
      expect.arrayContaining([
        "apply",
        "diff",
        "test",
        "send",
        "import",
        "tail",
        "events",
        "dead-letters",
        "pause",
        "resume",
        "rollback",
        "versions",
        "login",
        "run",
      ]),
    );
    for (const name of names) {
      const { code, stdout } = await callCli([name, "--help"]);
      expect(code).toBe(0);
      const subcommands = stdout.includes("\nCommands:\n") ? commandsOf(stdout.slice(stdout.indexOf("\nCommands:\n"))) : [];
      for (const sub of subcommands)
        expect((await callCli([name, sub, "--help"])).stdout, `${name} ${sub}`).toContain(`Example:\n  onedata ${name} ${sub}`);
      if (subcommands.length === 0) expect(stdout, name).toMatch(new RegExp(`Example:\\n  onedata ${name}`));
    }
  });

  it("ends with 2 for wrong usage, with 3 when nobody answers, and says what to do", async () => {
    expect(await spawnCli(["aply", "x.yaml"])).toMatchObject({ code: 2, stderr: expect.stringContaining("Did you mean apply?") });
    expect(await spawnCli(["events", "orders", "--limit", "many"])).toMatchObject({ code: 2, stderr: expect.stringContaining("whole number") });
    expect(await spawnCli(["import", "orders", "x.csv", "--resume"], { cwd: folder })).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("--key"),
    });
    expect(await spawnCli(["pipelines"], { cwd: folder })).toMatchObject({ code: 2, stderr: expect.stringContaining("onedata login") });
    const nobody = { ONEDATA_URL: "http://127.0.0.1:9", ONEDATA_CLIENT_ID: "a", ONEDATA_CLIENT_SECRET: "b" };
    expect(await spawnCli(["pipelines"], { env: nobody })).toMatchObject({
      code: 3,
      stderr: expect.stringContaining("cannot reach http://127.0.0.1:9"),
    });
    expect(JSON.parse((await spawnCli(["pipelines", "--json"], { env: nobody })).stderr)).toMatchObject({
      detail: expect.stringContaining("cannot reach"),
    });
  });
});

describe("Ctrl-C", () => {
  it("ends a run that waits for input, after what had come was answered", async () => {
    const { code, stdout } = await spawnCli(["run", example("orders")], {
      onStart: (child) => {
        child.stdin?.write('{"id":1,"price":2,"quantity":3}\n');
        child.stdout?.once("data", () => child.kill("SIGINT"));
      },
    });
    expect({ code, stdout }).toEqual({ code: 130, stdout: '{"id":1,"price":2,"quantity":3,"total":6}\n' });
  });

  it("ends a watch, which had tested again when the file was saved", async () => {
    const spec = (b: number): string =>
      `name: watched\nsteps:\n  - { id: a, use: record.map, with: { set: { b: a + 1 } } }\ntests:\n  - { name: adds, given: [{ a: 1 }], expect: [{ a: 1, b: ${b} }] }\n`;
    const path = write("watched.yaml", spec(3));
    const { code, stdout } = await spawnCli(["test", path, "--watch"], {
      onStart: (child) => {
        let seen = "";
        child.stderr?.on("data", (chunk: string) => {
          seen += chunk;
          const times = seen.split("waiting for changes").length - 1;
          if (times === 1) write("watched.yaml", spec(2));
          if (times === 2) child.kill("SIGINT");
        });
      },
    });
    expect(code).toBe(0);
    expect(stdout).toMatch(/✗ adds[^]*✓ adds/);
  });
});
