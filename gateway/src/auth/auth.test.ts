import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makePipeline, openWorld, postEvent, type TestClient, type TestWorld, waitFor } from "../testing/world.ts";
import { KONG_SECRET_HEADER } from "./authenticator.ts";
import { signToken, verifyToken } from "./token.ts";

describe("POST /oauth2/token answers as Kong's oauth2 plugin", () => {
  let world: TestWorld;
  let client: TestClient;
  beforeAll(async () => {
    world = await openWorld();
    client = await world.signIn();
  });
  afterAll(() => world[Symbol.asyncDispose]());

  const ask = async (
    parameters: Record<string, string>,
    headers: Record<string, string> = {},
  ): Promise<{ status: number; body: Record<string, unknown>; headers: Headers }> => {
    const response = await fetch(`${world.first.url}/oauth2/token`, { method: "POST", body: new URLSearchParams(parameters), headers });
    return { status: response.status, body: (await response.json()) as Record<string, unknown>, headers: response.headers };
  };
  const right = (): Record<string, string> => ({
    grant_type: "client_credentials",
    client_id: client.clientId,
    client_secret: client.clientSecret,
    scope: "events:write",
  });
  const basic = (id: string, secret: string): Record<string, string> => ({
    authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString("base64")}`,
  });

  it("issues a bearer token for body, Basic and JSON credentials", async () => {
    for (const answer of [
      await ask(right()),
      await ask({ grant_type: "client_credentials", scope: "events:write" }, basic(client.clientId, client.clientSecret)),
    ]) {
      expect(answer.status).toBe(200);
      expect(answer.body).toMatchObject({ token_type: "bearer", expires_in: 7200 });
      expect(Object.keys(answer.body)).toEqual(["access_token", "token_type", "expires_in"]);
      expect([answer.headers.get("cache-control"), answer.headers.get("pragma")]).toEqual(["no-store", "no-cache"]);
    }
    const json = await fetch(`${world.first.url}/oauth2/token`, {
      method: "POST",
      body: JSON.stringify({ ...right(), state: "s1" }),
      headers: { "content-type": "application/json" },
    });
    expect([json.status, ((await json.json()) as { state: string }).state]).toEqual([200, "s1"]);
  });

  it.each([
    ["a wrong secret in the body", { client_secret: "nope" }, 400, "invalid_client", "Invalid client authentication"],
    ["an unknown client", { client_id: "nobody" }, 400, "invalid_client", "Invalid client authentication"],
    ["no client", { client_id: "" }, 400, "invalid_client", "Invalid client authentication"],
    ["no scope", { scope: "" }, 400, "invalid_scope", "You must specify a scope"],
    ["a scope that the client has not", { scope: "admin" }, 400, "invalid_scope", '"admin" is an invalid scope'],
    [
      "another grant",
      { grant_type: "password" },
      400,
      "invalid_request",
      "Invalid redirect_uri that does not match with any redirect_uri created with the application",
    ],
    ["a user id without provision key", { authenticated_userid: "u" }, 400, "invalid_provision_key", "Invalid provision_key"],
  ])("refuses %s", async (_what, change, status, error, description) => {
    const answer = await ask({ ...right(), ...change });
    expect([answer.status, answer.body]).toEqual([status, { error, error_description: description }]);
    expect(answer.headers.get("cache-control")).toBe("no-store");
  });

  it("answers a wrong secret by Basic with 401, an unknown client with 400, and GET with 405", async () => {
    const wrong = await ask({ grant_type: "client_credentials", scope: "events:write" }, basic(client.clientId, "nope"));
    expect([wrong.status, wrong.headers.get("www-authenticate")]).toEqual([401, 'Basic realm="OAuth2.0"']);
    expect((await ask({ grant_type: "client_credentials", scope: "events:write" }, basic("nobody", "nope"))).status).toBe(400);
    const get = await fetch(`${world.first.url}/oauth2/token`);
    expect([get.status, get.headers.get("cache-control"), await get.json()]).toEqual([
      405,
      null,
      { error: "invalid_method", error_description: "The HTTP method GET is invalid for the token endpoint" },
    ]);
  });

  it("answers a missing and a bad token with 401, and a missing scope with 403, in problem+json with Kong's fields", async () => {
    const { name } = await makePipeline(world, client);
    const post = (authorization?: string): Promise<Response> =>
      fetch(`${world.first.url}/v1/pipelines/${name}/events`, {
        method: "POST",
        body: "1",
        ...(authorization === undefined ? {} : { headers: { authorization } }),
      });
    const missing = await post();
    expect([missing.status, missing.headers.get("www-authenticate")]).toEqual([401, 'Bearer realm="onedata"']);
    expect(await missing.json()).toMatchObject({
      code: "auth.unauthenticated",
      error: "invalid_request",
      error_description: "The access token is missing",
    });
    for (const bad of ["Bearer x", `Bearer ${client.token}x`, `Bearer ${client.token.slice(0, -2)}`, "Basic abc", "Bearer"]) {
      const response = await post(bad);
      expect([response.status, response.headers.get("www-authenticate")]).toEqual([
        401,
        'Bearer realm="onedata", error="invalid_token", error_description="The access token is invalid or has expired"',
      ]);
      expect(await response.json()).toMatchObject({ error: "invalid_token" });
    }
    const reader = await world.signIn({ scopes: ["events:read"] });
    const denied = await postEvent(world.first.url, reader, name, "1");
    expect(denied.status).toBe(403);
    expect(await denied.json()).toMatchObject({ code: "auth.scope_missing", error: "insufficient_scope" });
  });

  it("forgets a revoked client and a scope that was taken within seconds, over all its tokens", async () => {
    const fired = await world.signIn();
    const { name } = await makePipeline(world, fired);
    const status = async (): Promise<number> => (await postEvent(world.first.url, fired, name, "1")).status;
    expect(await status()).toBe(202);
    await world.store.sql`update onedata.principals set scopes = '{events:read}' where subject = ${fired.clientId}`;
    await waitFor(status, (seen) => seen === 403);
    await world.store.sql`update onedata.principals set revoked_at = now() where subject = ${fired.clientId}`;
    await waitFor(status, (seen) => seen === 401);
    expect((await ask({ ...right(), client_id: fired.clientId, client_secret: fired.clientSecret })).body["error"]).toBe("invalid_client");
  });

  it("takes tokens of one gateway at another, and none that has expired or was signed by somebody else", async () => {
    const second = await world.openGateway();
    const { name } = await makePipeline(world, client);
    expect((await postEvent(second.url, client, name, "1")).status).toBe(202);
    const [row] = await world.store.sql<{ value: string }[]>`select value from onedata.installation where name = 'token_signing_key'`;
    const key = Buffer.from(row?.value ?? "", "base64");
    const claims = verifyToken(key, client.token);
    expect(claims?.scopes).toContain("events:write");
    const expired = signToken(key, {
      principalId: claims?.principalId ?? 0n,
      scopes: ["events:write"],
      expiresAtSeconds: Math.floor(Date.now() / 1000) - 1,
    });
    const forged = signToken(Buffer.alloc(32), {
      principalId: claims?.principalId ?? 0n,
      scopes: ["events:write"],
      expiresAtSeconds: Math.floor(Date.now() / 1000) + 60,
    });
    for (const token of [expired, forged])
      expect((await postEvent(second.url, { ...client, headers: { authorization: `Bearer ${token}` } }, name, "1")).status).toBe(401);
  });
});

describe("behind Kong", () => {
  let world: TestWorld;
  beforeAll(async () => {
    world = await openWorld();
  });
  afterAll(() => world[Symbol.asyncDispose]());

  it("trusts Kong's headers only beside the shared secret, and never more than the principal's own scopes", async () => {
    const client = await world.signIn({ scopes: ["events:write"] });
    const { name } = await makePipeline(world, client);
    const behind = await world.openGateway({ auth: { kind: "kong", sharedSecret: "s3cret" } });
    const kong = { "x-consumer-id": "c1", "x-credential-identifier": client.clientId, "x-authenticated-scope": "events:write admin" };
    const post = async (headers: Record<string, string>): Promise<number> =>
      (await fetch(`${behind.url}/v1/pipelines/${name}/events`, { method: "POST", body: "1", headers })).status;
    expect(await post({ ...kong, [KONG_SECRET_HEADER]: "s3cret" })).toBe(202);
    expect(await post(kong)).toBe(401);
    expect(await post({ ...kong, [KONG_SECRET_HEADER]: "guess" })).toBe(401);
    expect(await post({ ...client.headers, [KONG_SECRET_HEADER]: "s3cret" })).toBe(401);
    expect(await post({ ...kong, [KONG_SECRET_HEADER]: "s3cret", "x-authenticated-scope": "events:read" })).toBe(403);
    expect(await post({ ...kong, [KONG_SECRET_HEADER]: "s3cret", "x-anonymous-consumer": "true" })).toBe(401);
    expect(await post({ ...kong, [KONG_SECRET_HEADER]: "s3cret", "x-credential-identifier": "nobody" })).toBe(401);
    expect((await fetch(`${behind.url}/oauth2/token`, { method: "POST" })).status).toBe(404);
  });
});
