/** Real, messy data through the example pipelines by REST imports; what arrives is compared with figures computed here from the files alone. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { parse } from "csv-parse/sync";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../world/wait-for.ts";
import { openWorld, type Profile, type World } from "../world/world.ts";

const DATA = join(dirname(createRequire(import.meta.url).resolve("vega-datasets")), "..", "data");
const read = (file: string): Buffer => readFileSync(join(DATA, file));

type Movie = {
  Title: string | number | null;
  "Release Date": string;
  "Worldwide Gross": number | null;
  "Production Budget": number | null;
  "MPAA Rating": string | null;
};
type Flight = { date: string; delay: number; distance: number; origin: string; destination: string };

describe.each<Profile>(["solo", "cluster"])("real data (%s)", (profile) => {
  let world: World;
  beforeAll(async () => {
    world = await openWorld(profile);
  });
  afterAll(() => world?.[Symbol.asyncDispose]());

  async function importFile(pipeline: string, file: string, mediaType: string) {
    const accepted = await world.api.send("POST", `/v1/pipelines/${pipeline}/imports`, read(file), { "content-type": mediaType });
    expect(accepted.status, accepted.text).toBe(202);
    return (
      await waitFor(
        "import done",
        () => world.api.get(`/v1/imports/${accepted.json.id}`),
        ({ json }) => json?.state === "done",
        60_000,
      )
    ).json;
  }

  it("loads 3,201 films; those without a title or from the future are dead letters with their cause", async () => {
    const movies: Movie[] = JSON.parse(read("movies.json").toString());
    const year = (m: Movie): number => Number(m["Release Date"].slice(-4));
    const isDead = (m: Movie): boolean => m.Title === null || m.Title === "" || year(m) > 2011;
    const alive = movies.filter((m) => !isDead(m));
    const keys = new Set(alive.map((m) => `${m.Title}|${m["Release Date"]}`));

    const done = await importFile("movies", "movies.json", "application/json");
    expect(done).toMatchObject({ accepted: movies.length, rejected: 0, dead: movies.length - alive.length, delivered: alive.length });
    const [row] = await world.warehouse<{ n: number; pg: number; profit: number }[]>`
      select count(*)::int n, count(*) filter (where rating = 'PG' and min_age = 8)::int pg, count(profit)::int profit from movies`;
    expect(row?.n).toBe(keys.size);
    expect(row?.pg).toBe(new Set(alive.filter((m) => m["MPAA Rating"] === "PG").map((m) => `${m.Title}|${m["Release Date"]}`)).size);
    const groups = (await world.api.get("/v1/dead-letters:groups?pipeline=movies")).json.groups;
    expect(groups.reduce((sum: number, g: { count: number }) => sum + g.count, 0)).toBe(movies.length - alive.length);
    expect(new Set(groups.map((g: { step: string; code: string }) => `${g.step} ${g.code}`))).toEqual(new Set(["plausible record.invalid"]));
  });

  it("loads 3,376 airports from CSV", async () => {
    const airports: Record<string, string>[] = parse(read("airports.csv"), { columns: true });
    const done = await importFile("airports", "airports.csv", "text/csv");
    expect(done).toMatchObject({ accepted: airports.length, rejected: 0 });
    expect(done.delivered + done.dead).toBe(airports.length);
    const fits = airports.filter(
      (a) => /^[A-Z0-9]{3,4}$/.test(a["iata"] ?? "") && Number(a["latitude"]) >= 0 && Math.abs(Number(a["longitude"])) <= 180,
    );
    const [row] = await world.warehouse<{ n: number; sum: number; gaps: number; texas: number; quoted: number }[]>`
      select count(*)::int n, sum(latitude)::float sum, count(*) filter (where state is null)::int gaps, count(*) filter (where state_name = 'Texas')::int texas,
             count(*) filter (where name like '%,%')::int quoted from airports`;
    expect(done.delivered).toBe(fits.length);
    expect(row?.n).toBe(new Set(fits.map((a) => a["iata"])).size);
    expect(row?.sum).toBeCloseTo(
      fits.reduce((sum, a) => sum + Number(a["latitude"]), 0),
      4,
    );
    expect(row?.gaps).toBe(fits.filter((a) => a["state"] === "NA").length);
    expect(row?.texas).toBe(fits.filter((a) => a["state"] === "TX").length);
    expect(row?.quoted).toBe(fits.filter((a) => a["name"]?.includes(",")).length);
  });

  it("loads the late ones of 20,000 flights, each once", async () => {
    const flights: Flight[] = JSON.parse(read("flights-20k.json").toString());
    const late = flights.filter((f) => f.delay > 15 && f.distance >= 100);
    const done = await importFile("flights", "flights-20k.json", "application/json");
    expect(done).toMatchObject({ accepted: flights.length, delivered: late.length, filtered: flights.length - late.length, dead: 0 });
    const [row] = await world.warehouse<{ n: number; minutes: number; denver: number; first: Date }[]>`
      select count(*)::int n, sum(delay_minutes)::int minutes, count(*) filter (where hub = 'Denver')::int denver, min(departed) as first from late_flights`;
    expect(row).toMatchObject({
      n: late.length,
      minutes: late.reduce((sum, f) => sum + f.delay, 0),
      denver: late.filter((f) => f.origin === "DEN").length,
    });
    expect(row?.first.toISOString()).toBe("2001-01-01T06:47:00.000Z");
  });
});
