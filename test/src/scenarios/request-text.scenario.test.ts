/**
 * Every text that a route takes, wherever it stands (path, query, body, document), held against text that cannot be stored and text that is too long.
 * The routes and their fields are the contract's: a new one is tested without a line here.
 */
import { type HttpRule, isRawJson, type MethodContract, readContract } from "@onedata/contracts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Answer } from "../world/api.ts";
import { openWorld, type World } from "../world/world.ts";

type Field = MethodContract["input"]["fields"][number];
/** The JSON names that lead to a text; 0 is the first item of a list. */
type Place = readonly (string | 0)[];
type Json = string | Json[] | { [name: string]: Json };

let world: World;
beforeAll(async () => {
  world = await openWorld("solo");
}, 120_000);
afterAll(() => world?.[Symbol.asyncDispose](), 60_000);

const routes = readContract()
  .services.filter(({ internal }) => !internal)
  .flatMap(({ methods }) => methods.filter(({ policy }) => !policy.handwritten))
  .flatMap((method) => method.http.map((rule): [string, MethodContract, HttpRule] => [`${rule.verb} ${rule.path}`, method, rule]));

const HEADERS = ["ifMatch", "idempotencyKey"];

/** Raw JSON apart, which is no text but a value. */
function placesOf(fields: readonly Field[], depth = 0): Place[] {
  return fields.flatMap((field): Place[] => {
    if (isRawJson(field) || depth > 4) return [];
    const within: Place[] =
      field.message === undefined
        ? field.scalar === STRING
          ? [[]]
          : []
        : field.message.name === "Struct"
          ? [["member"]]
          : field.message.typeName.startsWith("google.")
            ? []
            : placesOf(field.message.fields, depth + 1);
    const at = field.fieldKind === "list" ? [field.jsonName, 0 as const] : field.fieldKind === "map" ? [field.jsonName, "key"] : [field.jsonName];
    return within.map((rest) => [...at, ...rest]);
  });
}
/** `TYPE_STRING` of a descriptor. */
const STRING = 9;

const variablesOf = (rule: HttpRule): string[] => [...rule.path.matchAll(/\{([^}]+)\}/g)].map(([, name = ""]) => name);
const jsonNameOf = (method: MethodContract, name: string): string => method.input.fields.find((field) => field.name === name)?.jsonName ?? name;

/** Where a text goes, and the pointer under which a problem of it is told. */
type Spot = { readonly kind: "path" | "query" | "body" | "document"; readonly pointer: string; readonly place: Place };

function spotsOf(method: MethodContract, rule: HttpRule): Spot[] {
  const variables = variablesOf(rule).map((name) => jsonNameOf(method, name));
  const raw = method.policy.rawBody;
  const bodyField = rule.body === "" || rule.body === "*" ? undefined : jsonNameOf(method, rule.body);
  return placesOf(method.input.fields).flatMap((place): Spot[] => {
    const [head = ""] = place;
    const pointer = `/${place.join("/")}`;
    if (variables.includes(String(head))) return [{ kind: "path", pointer, place }];
    if (raw !== undefined && head === jsonNameOf(method, raw.field)) return [{ kind: "document", pointer: "", place }];
    if (raw !== undefined && head === jsonNameOf(method, raw.mediaTypeField)) return [];
    if (rule.body === "*") return [{ kind: "body", pointer, place }];
    if (head === bodyField) return [{ kind: "body", pointer: pointer.slice(bodyField.length + 1), place: place.slice(1) }];
    return HEADERS.includes(String(head)) ? [] : [{ kind: "query", pointer, place }];
  });
}

const nest = (place: Place, text: string): Json => {
  const [head, ...rest] = place;
  if (head === undefined) return text;
  return head === 0 ? [nest(rest, text)] : { [head]: nest(rest, text) };
};

/** `text` percent-encoded, or as it is: `escaped`. */
async function send(
  rule: HttpRule,
  method: MethodContract,
  spot: Spot,
  { text = "a", escaped }: { text?: string; escaped?: string },
): Promise<Answer> {
  const inUrl = (): string => escaped ?? encodeURIComponent(text);
  // "1" is a number too.
  const path = rule.path.replaceAll(/\{([^}]+)\}/g, (_, name: string) =>
    spot.kind === "path" && jsonNameOf(method, name) === spot.place[0] ? inUrl() : "1",
  );
  const url = spot.kind === "query" ? `${path}?${spot.place.filter((part) => part !== 0).join(".")}=${inUrl()}` : path;
  const raw = method.policy.rawBody;
  if (raw !== undefined) return world.api.send(rule.verb, url, text, { "content-type": raw.mediaTypes.at(-1) ?? "" });
  return spot.kind === "body" ? world.api.send(rule.verb, url, nest(spot.place, text) as object) : world.api.send(rule.verb, url);
}

describe.each(routes.filter(([, method, rule]) => spotsOf(method, rule).length > 0))("%s", (_, method, rule) => {
  const spots = spotsOf(method, rule);

  it("refuses text that cannot be stored, and says where it stands", async () => {
    for (const spot of spots) {
      const nul = await send(rule, method, spot, { text: "a\0b" });
      expect([nul.status, nul.json?.errors], `${spot.kind} ${spot.pointer}: ${nul.text}`).toMatchObject([
        400,
        expect.arrayContaining([expect.objectContaining({ pointer: spot.pointer, code: "no_nul" })]),
      ]);
      if (spot.kind === "body") {
        const half = await send(rule, method, spot, { text: "a\ud83d" });
        expect([half.status, half.json?.errors], `${spot.pointer}: ${half.text}`).toMatchObject([
          400,
          expect.arrayContaining([expect.objectContaining({ pointer: spot.pointer, code: "well_formed" })]),
        ]);
      } else if (spot.kind !== "document")
        for (const escaped of ["%ff", "%ed%a0%80", "%zz"]) {
          const answer = await send(rule, method, spot, { escaped });
          expect([answer.status, answer.json?.code], `${spot.kind} ${spot.pointer} ${escaped}: ${answer.text}`).toEqual([400, "request.malformed"]);
        }
    }
  }, 60_000);

  it("survives text that is too long", async () => {
    for (const spot of spots) {
      const answer = await send(rule, method, spot, { text: "x".repeat(spot.kind === "body" || spot.kind === "document" ? 300_000 : 12_000) });
      expect(answer.status, `${spot.kind} ${spot.pointer}: ${answer.text.slice(0, 500)}`).toBeLessThan(500);
    }
  }, 60_000);
});

describe("routes written by hand", () => {
  it("refuse a client's id that cannot be stored as any unknown one, in every way it may come", async () => {
    const token = (body: string, headers: Record<string, string>): Promise<Response> =>
      fetch(`${world.url}/oauth2/token`, { method: "POST", body, headers });
    const form = { "content-type": "application/x-www-form-urlencoded" };
    const answers = await Promise.all([
      token("grant_type=client_credentials&client_id=nobody&client_secret=c", form),
      token("grant_type=client_credentials&client_id=a%00b&client_secret=c", form),
      token("grant_type=client_credentials&client_id=a%ed%a0%80&client_secret=c", form),
      token(JSON.stringify({ grant_type: "client_credentials", client_id: "a\0b", client_secret: "c" }), { "content-type": "application/json" }),
      token(JSON.stringify({ grant_type: "client_credentials", client_id: "a\ud83d", client_secret: "c" }), { "content-type": "application/json" }),
      token("grant_type=client_credentials", { ...form, authorization: `Basic ${Buffer.from("a\0b:c").toString("base64")}` }),
      token("grant_type=client_credentials", { ...form, authorization: `Basic ${Buffer.from("a%00b:c").toString("base64")}` }),
    ]);
    for (const answer of answers) expect([answer.status, await answer.json()]).toMatchObject([400, { error: "invalid_client" }]);
  });

  it("refuse an import's name that cannot be stored", async () => {
    const name = async (escaped: string): Promise<Answer> =>
      world.api.send("POST", `/v1/pipelines/orders/imports?name=${escaped}`, "{}\n", { "content-type": "application/x-ndjson" });
    expect(await name("a%00b")).toMatchObject({ status: 400, json: { errors: [{ pointer: "/name", code: "no_nul" }] } });
    expect(await name("%ff")).toMatchObject({ status: 400, json: { code: "request.malformed" } });
  });
});
