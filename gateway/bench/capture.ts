/**
 * What an accepted event costs: `node --conditions=source --import tsx gateway/bench/capture.ts` (under 40 s; Linux).
 * Gateway, load generator and Postgres (fsync on) share the machine; a bare node:http echo of the same request is the ruler. Read the figures as ratios.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer, request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toTenantId } from "@onedata/core";
import { migrate, openEmbeddedPostgres, openStore } from "@onedata/store";
import { createTestPipeline } from "@onedata/store/testing";
import { createClient, createGateway } from "../src/index.ts";
import { type LoadResult, runLoad } from "./load.ts";

const BODY = JSON.stringify({
  id: 123456,
  customer: "customer-42",
  price: 12.5,
  quantity: 3,
  country_code: "NO",
  note: "a typical event has around two hundred bytes of JSON, names and values, so this one has too",
});

type Role = "echo" | "gateway";

async function serve(role: Role, url: string): Promise<void> {
  let port: number;
  if (role === "echo") {
    const server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        response.writeHead(202, { "content-type": "application/json", "content-length": 12 });
        response.end('{"id":"echo"}'.slice(0, 12));
      });
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    port = typeof address === "object" && address !== null ? address.port : 0;
  } else {
    const log = (message: string, fields?: unknown): void => console.error(message, fields);
    const gateway = createGateway({
      store: openStore(url),
      auth: { kind: "own" },
      facade: async () => false,
      log: { info: () => undefined, warn: log, error: log },
      listen: { host: "127.0.0.1", port: 0 },
    });
    void gateway.run(new AbortController().signal);
    ({ port } = await gateway.address);
    process.on("message", () => process.send?.({ cpu: cpuSeconds(), rss: process.memoryUsage().rss, ...gateway.figures.writer }));
    process.send?.({ port });
    return;
  }
  process.on("message", () => process.send?.({ cpu: cpuSeconds(), rss: process.memoryUsage().rss }));
  process.send?.({ port });
}

const cpuSeconds = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

/** CPU seconds of one Postgres server: the postmaster, its processes, and those that have ended. */
function postgresSeconds(postmaster: string): number {
  let ticks = 0;
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (pid !== postmaster && fields[1] !== postmaster) continue;
      // utime and stime; of the postmaster those of its ended children too
      for (const i of pid === postmaster ? [11, 12, 13, 14] : [11, 12]) ticks += Number(fields[i]);
    } catch {
      // it has just ended
    }
  }
  return ticks / 100;
}

type Told = { port?: number; cpu: number; rss: number; commits?: number; events?: number };
async function ask(child: ChildProcess): Promise<Told> {
  const answer = once(child, "message");
  child.send("?");
  return (await answer)[0] as Told;
}

async function measure(name: string, child: ChildProcess, run: () => Promise<LoadResult>): Promise<void> {
  const before = { ...(await ask(child)), pg: postgresSeconds(postmaster), load: cpuSeconds() };
  const result = await run();
  const after = { ...(await ask(child)), pg: postgresSeconds(postmaster), load: cpuSeconds() };
  const us = (seconds: number): string => ((seconds * 1e6) / result.requests).toFixed(0).padStart(4);
  const commits = (after.commits ?? 0) - (before.commits ?? 0);
  console.log(
    `${name.padEnd(34)} ${(result.requests / result.seconds).toFixed(0).padStart(7)}/s   p50 ${result.p50Ms.toFixed(1).padStart(5)}  p99 ${result.p99Ms.toFixed(1).padStart(6)} ms   us per request: server ${us(after.cpu - before.cpu)}, postgres ${us(after.pg - before.pg)}, load ${us(after.load - before.load)}` +
      `${commits > 0 ? `   events per commit ${(((after.events ?? 0) - (before.events ?? 0)) / commits).toFixed(1)}` : ""}   rss ${(after.rss / 1e6).toFixed(0)} MB${result.failed > 0 ? `   FAILED ${result.failed}` : ""}`,
  );
}

/** One NDJSON body of `count` records, made while it is sent. */
function sendImport(port: number, token: string, pipeline: string, count: number): () => Promise<LoadResult> {
  return async () => {
    const startedAt = performance.now();
    const request = httpRequest({
      port,
      host: "127.0.0.1",
      method: "POST",
      path: `/v1/pipelines/${pipeline}/imports`,
      headers: { "content-type": "application/x-ndjson", authorization: `Bearer ${token}` },
    });
    const answered = once(request, "response");
    const piece = Buffer.from(`${BODY}\n`.repeat(500));
    for (let sent = 0; sent < count; sent += 500) if (!request.write(piece)) await once(request, "drain");
    request.end();
    const [response] = (await answered) as [NodeJS.ReadableStream & { statusCode: number }];
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(Buffer.from(chunk));
    const seconds = (performance.now() - startedAt) / 1000;
    const answer = JSON.parse(Buffer.concat(chunks).toString("utf8")) as { accepted?: number };
    return { requests: count, seconds, p50Ms: seconds * 1000, p99Ms: seconds * 1000, failed: count - (answer.accepted ?? 0) };
  };
}

let postmaster = "";

async function main(): Promise<void> {
  const dataDir = mkdtempSync(join(tmpdir(), "onedata-bench-"));
  const server = await openEmbeddedPostgres({ dataDir });
  postmaster = readFileSync(join(server.dataDir, "pg", "postmaster.pid"), "utf8").split("\n")[0] ?? "";
  const children: ChildProcess[] = [];
  const start = async (role: Role): Promise<{ child: ChildProcess; port: number }> => {
    const child = fork(import.meta.filename, [role, server.url], { execArgv: process.execArgv });
    children.push(child);
    const [{ port }] = (await once(child, "message")) as [{ port: number }];
    return { child, port };
  };
  try {
    await migrate(server.url);
    const store = openStore(server.url);
    const client = await createClient(store, { tenant: "bench", name: "bench", scopes: ["events:write"] });
    const names: string[] = [];
    for (let i = 0; i < 200; i++) names.push((await createTestPipeline(store.sql, { tenantId: toTenantId(client.tenantId), name: `p${i}` })).name);
    await store[Symbol.asyncDispose]();
    console.log(
      `fsync on, ${Buffer.byteLength(BODY)} bytes per event, no sampling, ${readFileSync("/proc/cpuinfo", "utf8").match(/^processor/gm)?.length ?? "?"} cores shared by everything`,
    );
    const echo = await start("echo");
    const gateway = await start("gateway");
    const response = await fetch(`http://127.0.0.1:${gateway.port}/oauth2/token`, {
      method: "POST",
      body: new URLSearchParams({
        grant_type: "client_credentials",
        client_id: client.clientId,
        client_secret: client.clientSecret,
        scope: "events:write",
      }),
    });
    const { access_token: token } = (await response.json()) as { access_token: string };
    const head = (path: string): string =>
      `POST ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nauthorization: Bearer ${token}\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ncontent-length: ${Buffer.byteLength(BODY)}\r\n\r\n${BODY}`;
    const heads = names.map((name) => head(`/v1/pipelines/${name}/events`));
    const one = (): string => heads[0] ?? "";
    const many = (i: number): string => heads[i % heads.length] ?? "";
    await runLoad({ port: gateway.port, connections: 64, seconds: 2, request: one });
    await runLoad({ port: echo.port, connections: 64, seconds: 1, request: one });
    await measure("bare node:http echo, 64", echo.child, () => runLoad({ port: echo.port, connections: 64, seconds: 4, request: one }));
    await measure("capture, 64 connections", gateway.child, () => runLoad({ port: gateway.port, connections: 64, seconds: 5, request: one }));
    await measure("capture, 256 connections", gateway.child, () => runLoad({ port: gateway.port, connections: 256, seconds: 4, request: one }));
    await measure("capture, 64, 200 pipelines", gateway.child, () => runLoad({ port: gateway.port, connections: 64, seconds: 4, request: many }));
    await measure("capture, 2,000/s open loop, 200", gateway.child, () =>
      runLoad({ port: gateway.port, connections: 64, seconds: 4, request: many, perSecond: 2000 }),
    );
    await measure("import, 500,000 NDJSON records", gateway.child, sendImport(gateway.port, token, "p0", 500_000));
  } finally {
    for (const child of children) child.kill();
    await server.stop();
    rmSync(dataDir, { recursive: true, force: true });
  }
}

const role = process.argv[2];
if (role === "echo" || role === "gateway") await serve(role, process.argv[3] ?? "");
else await main();
