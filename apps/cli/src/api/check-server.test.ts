/** The first thing that is wrong on the way to a server, over real sockets. */
import { createServer as createHttpServer, type RequestListener } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { createServer, type Server } from "node:net";
import { describe, expect, it } from "vitest";
import { checkServer } from "./check-server.ts";

const check = async (url: string) => {
  const found = [];
  for await (const one of checkServer(url, new AbortController().signal)) found.push(one);
  return found;
};
const states = async (url: string) => Object.fromEntries((await check(url)).map(({ check: name, state }) => [name, state]));

async function listen(server: Server) {
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((closed) => {
        if ("closeAllConnections" in server && typeof server.closeAllConnections === "function") server.closeAllConnections();
        server.close(() => closed());
      }),
  };
}
const healthy: RequestListener = (request, response) => void response.writeHead(200).end(JSON.stringify({ status: request.url }));

describe("the way to a server", () => {
  it("is fine when it answers and is ready", async () => {
    await using server = await listen(createHttpServer(healthy));
    expect(await states(`http://127.0.0.1:${server.port}`)).toEqual({ "server.port": "ok", "server.clock": "ok", "server.ready": "ok" });
  });

  it("ends at an address, a name, or a port that is wrong", async () => {
    expect(await states("localhost:8080")).toEqual({ "server.url": "failed" });
    expect(await states("http://nosuch.invalid")).toEqual({ "server.name": "failed" });
    const gone = await listen(createHttpServer(healthy));
    await gone[Symbol.asyncDispose]();
    expect(await check(`http://127.0.0.1:${gone.port}`)).toMatchObject([
      { check: "server.port", state: "failed", detail: expect.stringContaining("ECONNREFUSED"), advice: expect.stringContaining("npm start") },
    ]);
  });

  it("ends at a server that speaks something else, or is not ready, and sees a clock that differs", async () => {
    await using other = await listen(
      createServer((socket) =>
        socket
          .on("error", () => undefined)
          .resume()
          .end("220 smtp\r\n"),
      ),
    );
    expect(await states(`http://127.0.0.1:${other.port}`)).toMatchObject({ "server.answer": "failed" });
    await using elsewhere = await listen(createHttpServer((_request, response) => void response.writeHead(404).end()));
    expect(await check(`http://127.0.0.1:${elsewhere.port}`)).toMatchObject([{}, { detail: "/healthz answers 404" }]);
    await using starting = await listen(
      createHttpServer((request, response) => {
        response.setHeader("date", new Date(Date.now() - 120_000).toUTCString());
        response.writeHead(request.url === "/readyz" ? 503 : 200).end('{"database":"no"}');
      }),
    );
    expect(await check(`http://127.0.0.1:${starting.port}`)).toMatchObject([
      {},
      { check: "server.clock", state: "warning", detail: expect.stringContaining("behind") },
      { check: "server.ready", state: "failed", detail: expect.stringContaining('{"database":"no"}') },
    ]);
  });

  it("ends at a certificate that is not trusted, and at no TLS", async () => {
    await using server = await listen(createHttpsServer({ key: KEY, cert: CERTIFICATE }, healthy));
    expect(await check(`https://127.0.0.1:${server.port}`)).toMatchObject([
      { check: "server.port", state: "ok" },
      {
        check: "server.certificate",
        state: "failed",
        detail: expect.stringContaining("SELF_SIGNED"),
        advice: expect.stringContaining("NODE_EXTRA_CA_CERTS"),
      },
    ]);
    await using plain = await listen(createHttpServer(healthy));
    expect(await states(`https://127.0.0.1:${plain.port}`)).toEqual({ "server.port": "ok", "server.certificate": "failed" });
  });
});

// Of this test alone: nobody trusts it, and it guards nothing.
const KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgZes5dbHP9qCrnhII
Y/MJJi90R5uy/RgT3d2V81iCdxihRANCAARrudRvp//XIKEJq6DG9CWYk6JWzsVY
Bb79rFD9AUUmOSRgVWOf2MxWrmyFqtw4OLcMV0sGEPQCKim/MYbCZgCy
-----END PRIVATE KEY-----`;
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBmjCCAUGgAwIBAgIUYckdZkXjD2Dt1bwlhWOc82jGXNgwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzA0MDkxNloYDzIxMjYxMDMw
MDQwOTE2WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARrudRvp//XIKEJq6DG9CWYk6JWzsVYBb79rFD9AUUmOSRgVWOf2MxW
rmyFqtw4OLcMV0sGEPQCKim/MYbCZgCyo28wbTAdBgNVHQ4EFgQU6wUXKxuJZinQ
Oe+NpPHA7EKtXPcwHwYDVR0jBBgwFoAU6wUXKxuJZinQOe+NpPHA7EKtXPcwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDRwAwRAIgVAFcBKn8t+bauDn8JBMBp8Tf3iz1MFP3DT1PGxMQpLICIEPn
UNWd8T7PRDnfuoLeZZ7xeJ7DM7HMZX5GiUmLR7Jv
-----END CERTIFICATE-----`;
