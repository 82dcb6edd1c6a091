/**
 * One connection to NATS, made when somebody needs it. The client's own reconnecting is off: it would queue messages in memory for a server that is away.
 * After a failed attempt, callers fail at once until the backoff is due. A call that met its deadline gives the connection up.
 */
import { type ConnectionOptions, connect, type NatsConnection } from "@nats-io/transport-node";
import { createBackoff, pause } from "../backoff.ts";
import type { BrokerAddress } from "../broker-url.ts";
import { reasonOf, unavailable } from "../unavailable.ts";

export type NatsAddress = Extract<BrokerAddress, { readonly scheme: "nats" }>;

const CONNECT_TIMEOUT_MS = 2_000;

export interface Connection {
  /** Throws `broker.unavailable`. */
  get(): Promise<NatsConnection>;
  /** Resolves when an attempt may be made again; at once while connected. */
  due(signal: AbortSignal): Promise<void>;
  /** A call failed on it: the next `get` connects anew, when the backoff is due. */
  giveUp(connection: NatsConnection, reason: string): void;
  /** A call worked: the backoff starts small again. */
  worked(): void;
  close(): Promise<void>;
}

export function createConnection(address: NatsAddress, deps: { readonly clientName: string; readonly random: () => number }): Connection {
  const backoff = createBackoff({ firstMs: 100, maxMs: 3_000, random: deps.random });
  const options: ConnectionOptions & { readonly tls?: { readonly ca?: string } } = {
    servers: `${address.host}:${address.port}`,
    name: deps.clientName,
    reconnect: false,
    timeout: CONNECT_TIMEOUT_MS,
    pingInterval: 5_000,
    maxPingOut: 2,
    ignoreClusterUpdates: true,
    ...(address.token === undefined ? {} : { token: address.token }),
    ...(address.user === undefined || address.password === undefined ? {} : { user: address.user, pass: address.password }),
    ...(address.tls === undefined ? {} : { tls: address.tls.ca === undefined ? {} : { ca: address.tls.ca } }),
  };
  let current: NatsConnection | undefined;
  let connecting: Promise<NatsConnection> | undefined;
  let failure: { readonly reason: string; readonly untilMs: number } | undefined;
  let closed = false;

  function fail(reason: string): void {
    failure = { reason, untilMs: performance.now() + backoff.failed() };
  }

  async function open(): Promise<NatsConnection> {
    try {
      const made = await connect(options);
      if (closed) {
        await made.close();
        throw new Error("closed");
      }
      current = made;
      void made.closed().then(() => {
        if (current === made) current = undefined;
      });
      return made;
    } catch (error) {
      fail(reasonOf(error));
      throw unavailable(`nats: ${reasonOf(error)}`, error);
    } finally {
      connecting = undefined;
    }
  }

  return {
    async get() {
      if (closed) throw unavailable("closed");
      if (current !== undefined && !current.isClosed()) return current;
      if (connecting === undefined && failure !== undefined && performance.now() < failure.untilMs) throw unavailable(`nats: ${failure.reason}`);
      connecting ??= open();
      return await connecting;
    },
    due: (signal) => (current === undefined ? backoff.due(signal) : Promise.resolve()),
    worked() {
      failure = undefined;
      backoff.succeeded();
    },
    giveUp(connection, reason) {
      if (current === connection) {
        current = undefined;
        fail(reason);
      }
      void connection.close().catch(() => undefined);
    },
    async close() {
      closed = true;
      const last = current;
      current = undefined;
      if (last === undefined) return;
      // What was just written (deliveries given back) shall arrive, unless the server is silent.
      await Promise.race([last.flush().catch(() => undefined), pause(1_000, new AbortController().signal)]);
      await last.close().catch(() => undefined);
    },
  };
}
