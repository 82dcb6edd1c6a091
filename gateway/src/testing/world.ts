/** A gateway over a real database and real sockets, for this package's tests. */
import { randomUUID } from "node:crypto";
import { toTenantId } from "@onedata/core";
import { openStore, type Store } from "@onedata/store";
import { createTestPipeline, openTestDatabase, type TestDatabase, type TestPipelineOptions } from "@onedata/store/testing";
import { createClient } from "../auth/first-client.ts";
import type { Log } from "../http/seam.ts";
import { createGateway, type Gateway, type GatewayAuth, type GatewayPorts } from "../server.ts";

export interface TestGateway {
  readonly url: string;
  readonly store: Store;
  readonly gateway: Gateway;
  readonly logged: string[];
  stop(): Promise<void>;
}

export interface TestWorld extends AsyncDisposable {
  readonly database: TestDatabase;
  readonly store: Store;
  readonly first: TestGateway;
  openGateway(ports?: Partial<GatewayPorts>): Promise<TestGateway>;
  signIn(options?: { tenant?: string; scopes?: readonly string[]; url?: string }): Promise<TestClient>;
}

export type TestClient = {
  readonly tenantId: bigint;
  readonly clientId: string;
  readonly clientSecret: string;
  readonly token: string;
  readonly headers: Record<string, string>;
};

export const ALL_SCOPES = ["events:write", "events:read", "pipelines:read", "pipelines:write"];

/** `given`: a migrated database of the caller's, who closes it; left out: one of its own. */
export async function openWorld(auth: GatewayAuth = { kind: "own" }, ports: Partial<GatewayPorts> = {}, given?: TestDatabase): Promise<TestWorld> {
  const database = given ?? (await openTestDatabase());
  const store = openStore(database.url);
  const open: TestGateway[] = [];

  const openGateway = async (extra: Partial<GatewayPorts> = {}): Promise<TestGateway> => {
    const own = openStore(database.url, { applicationName: `gw-${randomUUID().slice(0, 8)}` });
    const logged: string[] = [];
    const write = (message: string, fields?: Readonly<Record<string, unknown>>): void =>
      void logged.push(`${message} ${JSON.stringify(fields ?? {}, (_key, value: unknown) => (value instanceof Error ? value.message : value))}`);
    const log: Log = { info: write, warn: write, error: write };
    const gateway = createGateway({ store: own, auth, log, facade: async () => false, listen: { host: "127.0.0.1", port: 0 }, ...ports, ...extra });
    const abort = new AbortController();
    const running = gateway.run(abort.signal);
    const { url } = await Promise.race([gateway.address, running.then(() => Promise.reject(new Error("stopped")))]);
    let stopped: Promise<void> | undefined;
    const stop = (): Promise<void> => {
      stopped ??= (async () => {
        abort.abort();
        await running;
        await own[Symbol.asyncDispose]();
      })();
      return stopped;
    };
    const opened: TestGateway = { url, store: own, gateway, logged, stop };
    open.push(opened);
    return opened;
  };
  const first = await openGateway();
  return {
    database,
    store,
    first,
    openGateway,
    async signIn({ tenant = `tenant-${randomUUID()}`, scopes = ALL_SCOPES, url = first.url } = {}) {
      const client = await createClient(store, { tenant, name: "test", scopes });
      const response = await fetch(`${url}/oauth2/token`, {
        method: "POST",
        body: new URLSearchParams({
          grant_type: "client_credentials",
          client_id: client.clientId,
          client_secret: client.clientSecret,
          scope: scopes.join(" "),
        }),
      });
      const { access_token: token } = (await response.json()) as { access_token: string };
      return {
        tenantId: client.tenantId,
        clientId: client.clientId,
        clientSecret: client.clientSecret,
        token,
        headers: { authorization: `Bearer ${token}` },
      };
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(open.map((gateway) => gateway.stop()));
      await store[Symbol.asyncDispose]();
      await database[Symbol.asyncDispose]();
    },
  };
}

export const makePipeline = (
  world: TestWorld,
  client: TestClient,
  options: Omit<TestPipelineOptions, "tenantId"> = {},
): ReturnType<typeof createTestPipeline> => createTestPipeline(world.store.sql, { tenantId: toTenantId(client.tenantId), ...options });

export function postEvent(
  url: string,
  client: TestClient,
  pipeline: string,
  body: string | Uint8Array,
  headers: Record<string, string> = {},
): Promise<Response> {
  return fetch(`${url}/v1/pipelines/${pipeline}/events`, {
    method: "POST",
    body,
    headers: { "content-type": "application/json", ...client.headers, ...headers },
  });
}

/** Looks again until the state is reached; says what it last saw. */
export async function waitFor<T>(read: () => Promise<T> | T, reached: (value: T) => boolean, timeoutMs = 25_000): Promise<T> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const value = await read();
    if (reached(value)) return value;
    if (performance.now() > end) throw new Error(`not reached within ${timeoutMs} ms; last seen: ${JSON.stringify(value)}`);
    await new Promise((wake) => setTimeout(wake, 10));
  }
}
