/** Connections of the platform's own database that break at any moment: statements and transactions settle, the process lives, and the next ones work. */
import { createServer, connect as dial, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { captureGroup } from "./capture.ts";
import { connect, openStore } from "./connection.ts";
import { withLockTimeout } from "./retention/partitions.ts";
import { createTestPipeline, openTestDatabase, type TestDatabase } from "./testing.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await openTestDatabase();
});
afterAll(() => database[Symbol.asyncDispose]());

/** How it ended, or `hangs` long after it should have. */
async function settle(use: Promise<unknown>): Promise<string> {
  let timer: NodeJS.Timeout | undefined;
  const hangs = new Promise<string>((late) => {
    timer = setTimeout(() => late("hangs"), 20_000);
  });
  const ended = use.then(
    () => "done",
    () => "failed",
  );
  try {
    return await Promise.race([ended, hangs]);
  } finally {
    clearTimeout(timer);
  }
}

/** Hands the client's side of every connection to `behave`. */
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
  const url = new URL(database.url);
  url.port = String(typeof address === "object" && address !== null ? address.port : 0);
  return {
    url: url.href,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((closed) => server.close(closed));
    },
  };
}

/** Lets `answers` pieces of what the server says through, then cuts, once. */
function cutAfter(answers: number) {
  const state = { left: answers, isCut: false };
  const behave = (client: Socket): void => {
    const upstream = dial(Number(new URL(database.url).port), "127.0.0.1");
    client.on("data", (bytes) => upstream.write(bytes)).on("close", () => upstream.destroy());
    upstream.on("error", () => undefined).on("close", () => client.destroy());
    upstream.on("data", (bytes) => {
      if (state.isCut || state.left-- > 0) client.write(bytes);
      else {
        state.isCut = true;
        client.destroy();
      }
    });
  };
  return { state, behave };
}

describe("a server that closes at once", () => {
  it.each<[string, (socket: Socket) => void]>([
    ["before it is spoken to", (socket) => void socket.destroy()],
    ["when it is spoken to", (socket) => void socket.once("data", () => socket.destroy())],
    ["politely", (socket) => void socket.end()],
  ])("%s fails statements, transactions and reservations as one that is not there, is not stormed, and is used when it works", async (_how, behave) => {
    let works = false;
    const { behave: pass } = cutAfter(Number.POSITIVE_INFINITY);
    await using server = await openServer((socket) => (works ? pass(socket) : behave(socket)));
    const sql = connect(server.url, { max: 2, applicationName: "closed" });
    expect(await settle(sql`select 1`)).toBe("failed");
    expect(await settle(sql.begin((tx) => tx`select 1`))).toBe("failed");
    expect(await settle(sql.reserve())).toBe("failed");
    expect(server.connections()).toBeLessThan(10);
    works = true;
    let how = "";
    for (let i = 0; i < 5 && how !== "done"; i++) how = await settle(sql`select 1`);
    expect(how).toBe("done");
    await sql.end({ timeout: 5 });
  });
});

describe("a connection that is cut", () => {
  it.each<[string, (url: string) => Promise<unknown>]>([
    [
      "a transaction of several statements",
      async (url) => {
        const sql = connect(url, { max: 1, applicationName: "cut" });
        try {
          await sql.begin(async (tx) => {
            await tx`select 1`;
            await new Promise((later) => setTimeout(later, 5));
            await tx`select 2`;
            await new Promise((later) => setTimeout(later, 5));
          });
        } finally {
          sql.end({ timeout: 0 }).catch(() => undefined);
        }
      },
    ],
    [
      "what drops old data",
      async (url) => {
        const own = connect(database.url, { max: 1, applicationName: "looks" });
        try {
          await withLockTimeout({ url, sql: own }, 1_000, async (sql) => {
            await sql`select 1`;
            await new Promise((later) => setTimeout(later, 5));
            await sql.begin(async (tx) => {
              await tx`select 2`;
              await tx`select 3`;
            });
            await sql`select 4`;
          });
        } finally {
          await own.end({ timeout: 1 });
        }
      },
    ],
  ])(
    "after any answer of the server: %s settles",
    async (_what, use) => {
      const found = await Promise.all(
        Array.from({ length: 30 }, async (_, answers) => {
          const { state, behave } = cutAfter(answers);
          await using server = await openServer(behave);
          return { answers, how: await settle(use(server.url)), isCut: state.isCut };
        }),
      );
      expect(found.filter(({ how }) => how === "hangs")).toEqual([]);
      // All there are: with more, nothing is left to cut.
      expect(found.map(({ isCut }) => isCut)).toContain(false);
    },
    120_000,
  );

  it("by ending its backend between two statements of a transaction rejects it, and the next one works", async () => {
    const admin = connect(database.url, { max: 1, applicationName: "admin" });
    const sql = connect(database.url, { max: 1, applicationName: "victim" });
    for (const wait of [0, 1, 20]) {
      const work = sql.begin(async (tx) => {
        await tx`select 1`;
        await admin`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'victim'`;
        await new Promise((later) => setTimeout(later, wait));
        await tx`select 2`;
      });
      expect(await settle(work)).toBe("failed");
      expect(await settle(sql.begin((tx) => tx`select 1`))).toBe("done");
    }
    await Promise.all([sql.end({ timeout: 1 }), admin.end({ timeout: 1 })]);
  });
});

describe("a line that swallows everything", () => {
  it("fails what waits for it, captures of which nobody knows included, and is used when it works", async () => {
    const lines: { silent: boolean } = { silent: false };
    await using server = await openServer((client) => {
      const upstream = dial(Number(new URL(database.url).port), "127.0.0.1");
      client.on("data", (bytes) => lines.silent || upstream.write(bytes)).on("close", () => upstream.destroy());
      upstream.on("error", () => undefined).on("close", () => client.destroy());
      upstream.on("data", (bytes) => lines.silent || client.write(bytes));
    });
    const store = openStore(server.url, { silentMs: 500 });
    const { tenantId, pipelineId } = await createTestPipeline(store.sql);
    const target = { tenantId, pipelineId, version: 1, laneClass: "live" as const, ordered: false };
    const capture = () => captureGroup(store, [{ target, events: [{ payload: "1" }] }]);
    expect(await capture()).toMatchObject([[{ kind: "captured" }]]);
    lines.silent = true;
    expect(await settle(store.claim`select 1`)).toBe("failed");
    expect(await capture()).toMatchObject([[{ kind: "failed", error: { code: "capture.unknown" } }]]);
    lines.silent = false;
    expect(await capture()).toMatchObject([[{ kind: "captured", duplicate: false }]]);
    await store[Symbol.asyncDispose]();
  });
});
