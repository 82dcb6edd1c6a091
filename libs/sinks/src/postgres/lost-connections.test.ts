/** Servers that close, hang or talk nonsense at any moment: whatever uses a tenant's database settles, in time and with its own error, and the process lives. */
import { randomUUID } from "node:crypto";
import { connect, createServer, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { testGroup, testRecord } from "../conformance.ts";
import type { ConnectionConfig } from "../sink.ts";
import { checkPostgresSink } from "./check.ts";
import { createPostgresConnectionKind } from "./connection-kind.ts";
import { ledgerDdl } from "./ledger.ts";
import { createLedgerAudit } from "./ledger-audit.ts";
import { createLedgerPurge } from "./ledger-purge.ts";
import { createPools } from "./pools.ts";
import { openSinkDatabase } from "./testing.ts";
import { createPostgresWriter } from "./writer.ts";

let database: Awaited<ReturnType<typeof openSinkDatabase>>;
beforeAll(async () => {
  database = await openSinkDatabase(undefined);
  await database.sql`create table t (id int primary key)`;
  await database.sql.unsafe(ledgerDdl("public"));
});
afterAll(() => database[Symbol.asyncDispose]());

type Use = (connection: ConnectionConfig, signal: AbortSignal) => Promise<unknown>;
const installation = randomUUID();
const config = { connection: "warehouse", table: "t", key: ["id"] };

/** Everything that a service does with a tenant's database. */
const uses: Readonly<Record<string, Use>> = {
  async write(connection, signal) {
    await using pools = createPools({ connectTimeoutMs: 1_000 });
    const records = Array.from({ length: 3 }, (_, n) => testRecord(n, `{"id":${n}}`));
    const group = testGroup({ kind: "postgres.upsert", config, connection }, records);
    return await createPostgresWriter(pools).write([group], { installation, runId: randomUUID(), signal });
  },
  async purge(connection, signal) {
    await using purge = createLedgerPurge();
    return await purge.purge(connection, { tenant: "1", installation, below: 5n, keep: [], signal });
  },
  async audit(connection, signal) {
    await using audit = createLedgerAudit();
    return await audit.readRecent(connection, { tenant: "1", installation, signal, fromBatchId: 0n, limit: 10 });
  },
  async check(connection, signal) {
    await using pools = createPools({ connectTimeoutMs: 1_000 });
    return await checkPostgresSink("postgres.upsert", pools, { config, connection, tenant: "1", signal });
  },
  async "check a connection"(connection, signal) {
    await using pools = createPools({ connectTimeoutMs: 1_000 });
    return await createPostgresConnectionKind(pools).check(connection, "1", signal);
  },
};

/** How it ended, or `hangs` long after it should have. */
async function settle(use: Promise<unknown>): Promise<"done" | "failed" | "hangs"> {
  let timer: NodeJS.Timeout | undefined;
  const hangs = new Promise<"hangs">((late) => {
    timer = setTimeout(() => late("hangs"), 15_000);
  });
  try {
    return await Promise.race([
      use.then(
        () => "done" as const,
        () => "failed" as const,
      ),
      hangs,
    ]);
  } finally {
    clearTimeout(timer);
  }
}

async function openServer(behave: (socket: Socket) => void) {
  const sockets = new Set<Socket>();
  let connections = 0;
  const server = createServer((socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on("error", () => undefined).on("close", () => sockets.delete(socket));
    behave(socket);
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    port,
    connections: () => connections,
    sockets,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((closed) => server.close(closed));
    },
  };
}

const at = (port: number, tls = "disable"): ConnectionConfig => {
  const url = new URL(database.url);
  url.port = String(port);
  return { name: "warehouse", kind: "postgres", config: { url: url.href, tls } };
};

describe.each(Object.entries(uses))("%s", (_name, use) => {
  it.each<[string, (socket: Socket) => void]>([
    ["closes at once", (socket) => void socket.destroy()],
    ["ends at once", (socket) => void socket.end()],
    ["closes when it is spoken to", (socket) => void socket.once("data", () => socket.destroy())],
    ["talks nonsense and closes", (socket) => void socket.once("data", () => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"))],
    ["refuses TLS and closes", (socket) => void socket.once("data", () => socket.end("N"))],
  ])("settles by itself with a server that %s, and does not storm it", async (_what, behave) => {
    for (const tls of ["disable", "require"]) {
      await using server = await openServer(behave);
      expect(await settle(use(at(server.port, tls), new AbortController().signal))).not.toBe("hangs");
      expect(server.connections()).toBeLessThan(5);
    }
  });

  it("ends with its signal where a server accepts and says nothing", async () => {
    await using server = await openServer(() => undefined);
    expect(await settle(use(at(server.port), AbortSignal.timeout(200)))).not.toBe("hangs");
    expect(await settle(use(at(server.port), AbortSignal.abort()))).not.toBe("hangs");
    // It gives up by itself too, in the time that a connection may take.
    expect(await settle(use(at(server.port), new AbortController().signal))).not.toBe("hangs");
  });

  it.each(["cut", "silent"] as const)("settles when the line is %s after any answer of the server, and works afterwards", async (how) => {
    for (let answers = 0; ; answers++) {
      let left = answers;
      let wasHit = false;
      const upstreams = new Set<Socket>();
      await using proxy = await openServer((client) => {
        const upstream = connect(Number(new URL(database.url).port), "127.0.0.1");
        upstreams.add(upstream);
        client.on("data", (bytes) => upstream.write(bytes)).on("close", () => upstream.destroy());
        upstream.on("error", () => undefined).on("close", () => client.destroy());
        upstream.on("data", (bytes) => {
          if (left > 0) {
            left -= 1;
            client.write(bytes);
            return;
          }
          wasHit = true;
          if (how === "cut") client.destroy();
        });
      });
      const signal = how === "cut" ? new AbortController().signal : AbortSignal.timeout(300);
      expect(await settle(use(at(proxy.port), signal)), `after ${answers} answers`).not.toBe("hangs");
      for (const upstream of upstreams) upstream.destroy();
      if (!wasHit) break;
      expect(answers).toBeLessThan(40);
    }
    expect(await settle(use(database.connection, new AbortController().signal))).toBe("done");
  });

  it("settles when its backend is ended at any moment", async () => {
    const stop = { now: false };
    const killer = (async () => {
      while (!stop.now)
        await database.sql`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'onedata sink'`;
    })();
    for (let i = 0; i < 20; i++) expect(await settle(use(database.connection, AbortSignal.timeout(5_000)))).not.toBe("hangs");
    stop.now = true;
    await killer;
    expect(await settle(use(database.connection, new AbortController().signal))).toBe("done");
  });
});
