/**
 * Clients of one database: one connection each, lent out exclusively.
 *
 * Why not the driver's own pool and `sql.begin`: in `postgres` 3.4, when a connection dies inside a transaction, ROLLBACK is written to the dead socket, which throws outside any
 * promise and ends the process; and statements still queued may run on a new connection, outside the transaction. So:
 * 1. A client holds one reserved connection for its whole life. When that is lost the client is dead; nothing is sent any more and nothing reconnects.
 * 2. `query` sends in the order of the calls, at once; nobody has to wait for an answer before the next one.
 * 3. Losing the connection rejects everything that waits for it; so does aborting, also while the connection is being made.
 */
import { OneDataError } from "@onedata/core";
import postgres from "postgres";
import { createOneSocket } from "./socket.ts";
import { classify, toSqlFailure } from "./sqlstate.ts";

export type Rows<T> = readonly T[] & { readonly count: number };

export interface Client {
  /** Statement with text parameters only. Rejects with the driver's error. */
  query<T extends object = Record<string, unknown>>(text: string, parameters?: readonly string[]): Promise<Rows<T>>;
  isAlive(): boolean;
}

export interface Clients {
  /** Waits for a free client, bounded by `signal`; aborting while `run` works cuts the connection, so that the server ends what is open. */
  use<T>(signal: AbortSignal, run: (client: Client) => Promise<T>): Promise<T>;
  close(): void;
}

export type DriverOptions = postgres.Options<Record<string, postgres.PostgresType>>;
type OwnedClient = Client & { readonly lost: Promise<never>; readonly openedAtMs: number; destroy(): void };

const IDLE_MS = 30_000;
const MAX_AGE_MS = 1_800_000;

/** `reach` says before each connection which addresses may be connected to; left out: the host as it is. */
export function createClients(options: DriverOptions, max: number, reach?: () => Promise<readonly string[]>): Clients {
  const idle = new Map<OwnedClient, NodeJS.Timeout>();
  const waiting: (() => void)[] = [];
  let open = 0;
  let closed = false;

  const acquire = async (signal: AbortSignal): Promise<OwnedClient> => {
    for (;;) {
      throwIfAborted(signal);
      if (closed) throw new OneDataError("sink.unavailable", "this service is stopping");
      const [found] = [...idle].slice(-1);
      if (found !== undefined) {
        const [client, timer] = found;
        clearTimeout(timer);
        idle.delete(client);
        if (client.isAlive()) return client;
        open -= 1;
      } else if (open < max) {
        open += 1;
        try {
          return await openClient(options, reach === undefined ? [String(options.host)] : await reach(), signal);
        } catch (error) {
          open -= 1;
          waiting.shift()?.();
          throw error;
        }
      } else await nextTurn(waiting, signal);
    }
  };
  const release = (client: OwnedClient, keep: boolean): void => {
    if (keep && client.isAlive() && !closed && performance.now() - client.openedAtMs < MAX_AGE_MS) {
      const expire = (): void => {
        if (idle.delete(client)) open -= 1;
        client.destroy();
      };
      idle.set(client, setTimeout(expire, IDLE_MS).unref());
    } else {
      client.destroy();
      open -= 1;
    }
    waiting.shift()?.();
  };

  return {
    async use(signal, run) {
      const client = await acquire(signal);
      const cut = (): void => client.destroy();
      signal.addEventListener("abort", cut, { once: true });
      let keep = false;
      try {
        const result = await Promise.race([run(client), client.lost]);
        keep = true;
        return result;
      } catch (error) {
        if (signal.aborted) throw new OneDataError("aborted", "the call was cancelled", { cause: error });
        keep = error instanceof OneDataError ? error.code !== "sink.unavailable" : classify(toSqlFailure(error)) !== "connection";
        throw error;
      } finally {
        signal.removeEventListener("abort", cut);
        release(client, keep);
      }
    },
    close() {
      closed = true;
      for (const [client, timer] of idle) {
        clearTimeout(timer);
        client.destroy();
      }
      idle.clear();
      for (const wake of waiting.splice(0)) wake();
    },
  };
}

async function openClient(options: DriverOptions, addresses: readonly string[], signal: AbortSignal): Promise<OwnedClient> {
  let alive = true;
  let reportLoss: (error: Error) => void = () => undefined;
  const lost = new Promise<never>((_, fail) => {
    reportLoss = fail;
  });
  lost.catch(() => undefined); // whoever uses the client races with it
  const socket = createOneSocket(addresses, Number(options.port), Number(options.connect_timeout ?? 10) * 1000);
  // Its types know of no `socket`. One host: with several the driver keeps failures to itself.
  const owned: DriverOptions = Object.assign({}, options, { host: addresses[0], socket: () => socket.open() });
  const sql = postgres({
    ...owned,
    max: 1,
    onclose: () => {
      alive = false;
      reportLoss(connectionLost());
    },
  });
  const destroy = (): void => {
    alive = false;
    reportLoss(connectionLost());
    socket.destroy();
    sql.end({ timeout: 0 }).catch(() => undefined);
  };
  signal.addEventListener("abort", destroy, { once: true });
  try {
    throwIfAborted(signal);
    const connection = await Promise.race([reserve(sql), lost]);
    return {
      // The driver sends a query one tick after it is first waited for; `execute` makes that tick start now, for all of them alike.
      query: <T extends object>(text: string, parameters: readonly string[] = []) =>
        alive ? connection.unsafe<T[]>(text, [...parameters], { prepare: parameters.length > 0 }).execute() : Promise.reject(connectionLost()),
      isAlive: () => alive,
      lost,
      openedAtMs: performance.now(),
      destroy,
    };
  } catch (error) {
    destroy();
    throwIfAborted(signal);
    throw error;
  } finally {
    signal.removeEventListener("abort", destroy);
  }
}

async function reserve(sql: postgres.Sql): Promise<postgres.ReservedSql> {
  // The first query opens the connection: `reserve` alone would wait for ever where `fetch_types` is off.
  await sql.unsafe("select 1");
  return sql.reserve();
}

const connectionLost = (): Error => Object.assign(new Error("the connection was lost"), { code: "CONNECTION_LOST" });

/** Begins, runs and commits; rolls back what throws. After a fault of the connection nothing more is sent. */
export async function inTransaction<T>(client: Client, run: () => Promise<T>): Promise<T> {
  // Not waited for: what `run` sends follows it on the same connection.
  const begun = client.query("begin");
  begun.catch(() => undefined);
  let result: T;
  try {
    result = await run();
    await begun;
  } catch (error) {
    if (client.isAlive()) await client.query("rollback");
    throw error;
  }
  await client.query("commit");
  return result;
}

/** Until somebody is done, or `signal` aborts. */
export function nextTurn(waiting: (() => void)[], signal: AbortSignal): Promise<void> {
  return new Promise((settle, fail) => {
    const wake = (): void => {
      signal.removeEventListener("abort", stop);
      settle();
    };
    const stop = (): void => {
      const at = waiting.indexOf(wake);
      if (at >= 0) waiting.splice(at, 1);
      fail(new OneDataError("aborted", "the call was cancelled", { cause: signal.reason }));
    };
    waiting.push(wake);
    signal.addEventListener("abort", stop, { once: true });
  });
}

export function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw new OneDataError("aborted", "the call was cancelled", { cause: signal.reason });
}
