/**
 * A double of the KubeMQ community server for tests: the queue part of its contract over real gRPC, with the behaviour that was measured on the real one (see the
 * contract tests beside this file), and with faults on demand. It stores in memory. It is no broker: nothing but tests may run it.
 */
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { kubemqService } from "../messages.ts";
import { createFaults, type Faults } from "./faults.ts";
import type { Journal } from "./journal.ts";
import { createService } from "./service.ts";
import { createStore, type Store } from "./store.ts";

export type DoubleOptions = {
  /** 0 takes any free one. */
  readonly port?: number;
  readonly tls?: { readonly certPem: string; readonly keyPem: string };
  /** Calls without it in `authorization` fail (the licensed server does this; the community one ignores tokens). */
  readonly token?: string;
  readonly now?: () => number;
  readonly retentionMinutes?: number;
  readonly purgeInactiveMinutes?: number;
  /** Keeps the data over the death of a process; without it only `restart` does. */
  readonly journal?: Journal;
};

export interface KubemqDouble extends AsyncDisposable {
  readonly url: string;
  readonly address: string;
  readonly port: number;
  readonly faults: Faults;
  /** The process ends at once (streams break) and comes back on the same port. Without its data, or without the newest messages (power loss), or whole. */
  restart(how?: { readonly keepData?: boolean; readonly loseLast?: number }): Promise<void>;
  stop(): Promise<void>;
  start(how?: { readonly keepData?: boolean; readonly loseLast?: number }): Promise<void>;
  /** The newest messages of each queue vanish while it runs on: the start time stays. */
  loseLast(count: number): void;
  /** Accepts connections and answers nothing, until `thaw`. */
  freeze(): void;
  thaw(): void;
}

export async function openKubemqDouble(options: DoubleOptions = {}): Promise<KubemqDouble> {
  const now = options.now ?? Date.now;
  const faults = createFaults();
  const newStore = (): Store =>
    createStore({
      now,
      retentionMinutes: options.retentionMinutes ?? 1440,
      purgeInactiveMinutes: options.purgeInactiveMinutes ?? 1440,
      ...(options.journal === undefined ? {} : { journal: options.journal }),
    });
  const credentials =
    options.tls === undefined
      ? ServerCredentials.createInsecure()
      : ServerCredentials.createSsl(null, [{ cert_chain: Buffer.from(options.tls.certPem), private_key: Buffer.from(options.tls.keyPem) }]);
  let startedAt = 0;
  let gate: { readonly opened: Promise<void>; open(): void } | undefined;
  let running: Server | undefined;
  let store = newStore();
  let port = options.port ?? 0;

  async function start(): Promise<void> {
    // The real one counts seconds, and takes more than two to start; this one may be back within the same second.
    startedAt = Math.max(startedAt + 1, now());
    const server = new Server({ "grpc.max_receive_message_length": 100 << 20, "grpc.max_send_message_length": 100 << 20 });
    server.addService(
      kubemqService,
      createService({
        store,
        faults,
        startedAt,
        now,
        token: options.token,
        gate: async () => await gate?.opened,
        isAlive: () => running === server,
      }),
    );
    port = await new Promise<number>((done, failed) =>
      server.bindAsync(`127.0.0.1:${port}`, credentials, (error, bound) => (error === null ? done(bound) : failed(error))),
    );
    running = server;
  }

  async function stop(): Promise<void> {
    running?.forceShutdown();
    running = undefined;
    store.closeMembers();
    await new Promise((done) => setImmediate(done));
  }

  const lose = (how: { readonly keepData?: boolean; readonly loseLast?: number }): void => {
    if (how.keepData === false) store = newStore();
    if (how.loseLast !== undefined) store.loseLast(how.loseLast);
  };

  await start();
  return {
    get url() {
      return `kubemq://127.0.0.1:${port}`;
    },
    get address() {
      return `127.0.0.1:${port}`;
    },
    get port() {
      return port;
    },
    faults,
    async restart(how = {}) {
      await stop();
      lose(how);
      await start();
    },
    stop,
    async start(how = {}) {
      lose(how);
      await start();
    },
    loseLast: (count) => store.loseLast(count),
    freeze() {
      if (gate !== undefined) return;
      let open = (): void => undefined;
      const opened = new Promise<void>((done) => {
        open = done;
      });
      gate = { opened, open };
    },
    thaw() {
      gate?.open();
      gate = undefined;
    },
    async [Symbol.asyncDispose]() {
      gate?.open();
      gate = undefined;
      await stop();
    },
  };
}
