import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { credentials, makeGenericClientConstructor } from "@grpc/grpc-js";
import { EventServiceDefinition, TransformServiceDefinition } from "@onedata/contracts";
import { OneDataError } from "@onedata/core";
import { describe, expect, it } from "vitest";
import { createClient } from "../../rpc/client.ts";
import type { IncomingCall } from "../../rpc/transport.ts";
import { createFixtureHost, FIXTURE_SECRET } from "../transport-fixture.ts";
import { createGrpcTransport } from "./client.ts";
import { rawMethod } from "./methods.ts";
import { openGrpcServer } from "./server.ts";

const options = { caller: "engine", meshSecret: FIXTURE_SECRET };

describe("openGrpcServer", () => {
  it("finishes calls in flight when it stops, and takes no new ones", async () => {
    const server = await openGrpcServer(createFixtureHost(), { listen: "127.0.0.1:0", graceMs: 5_000 });
    await using transport = createGrpcTransport(`dns:///127.0.0.1:${server.port}`);
    const client = createClient(TransformServiceDefinition, transport, options);
    const call = client.apply({ runId: "hang" }, { timeoutMs: 400 }).catch((error: unknown) => OneDataError.from(error).code);
    await client.apply({});
    const stopped = server[Symbol.asyncDispose]();
    // It ran until its own deadline, not until the stop.
    expect(await call).toBe("request.timeout");
    await stopped;
    await expect(client.apply({})).rejects.toMatchObject({ code: "service.unavailable" });
  });

  it("is found again after a restart on the same port", async () => {
    const first = await openGrpcServer(createFixtureHost(), { listen: "127.0.0.1:0" });
    await using transport = createGrpcTransport(`dns:///127.0.0.1:${first.port}`);
    const client = createClient(TransformServiceDefinition, transport, options);
    await client.apply({});
    await first[Symbol.asyncDispose]();
    await expect(client.apply({})).rejects.toMatchObject({ code: "service.unavailable" });
    await using _second = await openGrpcServer(createFixtureHost(), { listen: `127.0.0.1:${first.port}` });
    await expect
      .poll(
        () =>
          client.apply({}).then(
            () => "up",
            () => "down",
          ),
        { timeout: 10_000, interval: 50 },
      )
      .toBe("up");
  });

  it("spreads calls over all addresses", async () => {
    const served: number[] = [0, 0];
    const hosts = await Promise.all(
      served.map((_, i) => {
        const host = createFixtureHost();
        const table = new Map(host.methods);
        const path = "/onedata.transform.v1.TransformService/Apply";
        const apply = table.get(path);
        if (apply?.kind === "unary") {
          table.set(path, {
            ...apply,
            handle: (request: Uint8Array, call: IncomingCall) => {
              served[i] = (served[i] ?? 0) + 1;
              return apply.handle(request, call);
            },
          });
        }
        return openGrpcServer({ methods: table }, { listen: "127.0.0.1:0" });
      }),
    );
    await using transport = createGrpcTransport(`ipv4:${hosts.map(({ port }) => `127.0.0.1:${port}`).join(",")}`);
    const client = createClient(TransformServiceDefinition, transport, options);
    await expect.poll(async () => (await client.apply({}), Math.min(...served)), { timeout: 20_000, interval: 5 }).toBeGreaterThan(5);
    for (const host of hosts) await host[Symbol.asyncDispose]();
  });

  it("answers health checks without a secret", async () => {
    await using server = await openGrpcServer(createFixtureHost(), { listen: "127.0.0.1:0" });
    const Health = makeGenericClientConstructor(rawMethod("/grpc.health.v1.Health/Check", false, false), "Health");
    const client = new Health(`127.0.0.1:${server.port}`, credentials.createInsecure());
    const method = rawMethod("/grpc.health.v1.Health/Check", false, false).call;
    const check = (service: string): Promise<string> => {
      const name = new TextEncoder().encode(service);
      const request = name.length === 0 ? new Uint8Array(0) : Uint8Array.of(0x0a, name.length, ...name);
      return new Promise((resolve) => {
        client.makeUnaryRequest(method.path, method.requestSerialize, method.responseDeserialize, request, (error, response) =>
          resolve(error === null ? String(response?.[1]) : `code ${error.code}`),
        );
      });
    };
    expect(await check("")).toBe("1");
    expect(await check("onedata.transform.v1.TransformService")).toBe("1");
    expect(await check("nobody.v1.Nothing")).toBe("code 5");
    server.setHealth("not_serving");
    expect(await check("")).toBe("2");
    client.close();
  });

  it("reports a port that is taken as a problem of the configuration", async () => {
    await using server = await openGrpcServer(createFixtureHost(), { listen: "127.0.0.1:0" });
    await expect(openGrpcServer(createFixtureHost(), { listen: `127.0.0.1:${server.port}` })).rejects.toMatchObject({ code: "config.problems" });
  });

  it("cuts streams that outlast the grace period as lost", async () => {
    const server = await openGrpcServer(createFixtureHost(), { listen: "127.0.0.1:0", graceMs: 0 });
    await using transport = createGrpcTransport(`dns:///127.0.0.1:${server.port}`);
    const events = createClient(EventServiceDefinition, transport, { caller: "gateway", meshSecret: FIXTURE_SECRET });
    const iterator = events
      .tailEvents({ pipeline: "hang" }, { metadata: { "x-onedata-tenant": "1", "x-onedata-scopes": "events:read" } })
      [Symbol.asyncIterator]();
    const next = iterator.next().catch((error: unknown) => OneDataError.from(error).code);
    await createClient(TransformServiceDefinition, transport, options).apply({});
    await server[Symbol.asyncDispose]();
    expect(await next).toBe("service.lost");
  });

  it("is lost when its process is killed during a call, and unavailable afterwards", { timeout: 30_000 }, async () => {
    const here = new URL(".", import.meta.url).href;
    const program = `const { openGrpcServer } = await import("${here}server.ts"); const { createFixtureHost } = await import("${here}../transport-fixture.ts");
      console.log((await openGrpcServer(createFixtureHost(), { listen: "127.0.0.1:0" })).port);`;
    const child = spawn(process.execPath, ["--conditions=source", "--import", "tsx", "--input-type=module", "--eval", program], {
      cwd: fileURLToPath(here),
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [port]: unknown[] = await once(child.stdout, "data");
    await using transport = createGrpcTransport(`dns:///127.0.0.1:${String(port).trim()}`);
    const client = createClient(TransformServiceDefinition, transport, options);
    await client.apply({});
    const call = client.apply({ runId: "hang" }).catch((error: unknown) => OneDataError.from(error).code);
    // A call that follows on the same connection has been answered, so the hanging one has arrived.
    await client.apply({});
    child.kill("SIGKILL");
    expect(await call).toBe("service.lost");
    const code = (): Promise<string> =>
      client.apply({}).then(
        () => "ok",
        (error: unknown) => OneDataError.from(error).code,
      );
    await expect.poll(code, { timeout: 20_000, interval: 10 }).toBe("service.unavailable");
  });
});
