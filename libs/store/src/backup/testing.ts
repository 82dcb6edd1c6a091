/** For the drills: a home as solo keeps it, and events under load with their number as idempotency key. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { captureGroup } from "../capture.ts";
import type { CaptureTarget } from "../capture-batches.ts";
import { connect, type Store } from "../connection.ts";
import { openEmbeddedPostgres } from "../embedded/server.ts";
import { migrate } from "../migrate.ts";

export interface TestHome extends AsyncDisposable {
  /** Of the platform's database. */
  readonly url: string;
  readonly dataDir: string;
  /** `kill -9` of the database server. */
  kill(): void;
}

/** Starts or adopts the home's server; makes and migrates the platform's database when it is new. Disposing stops the server. */
export async function openTestHome(home: string): Promise<TestHome> {
  const server = await openEmbeddedPostgres({ dataDir: join(home, "postgres") });
  const url = server.url.replace(/\/postgres$/, "/onedata");
  const sql = connect(server.url, { max: 1, applicationName: "test" });
  try {
    const [known] = await sql`select 1 from pg_database where datname = 'onedata'`;
    if (known === undefined) {
      await sql.unsafe("create database onedata");
      await migrate(url);
      mkdirSync(home, { recursive: true });
      writeFileSync(join(home, "secret.key"), "the key\n", { mode: 0o600 });
    }
  } finally {
    await sql.end();
  }
  return {
    url,
    dataDir: server.dataDir,
    kill: () => void process.kill(Number(readFileSync(join(server.dataDir, "pg/postmaster.pid"), "utf8").split("\n")[0]), "SIGKILL"),
    [Symbol.asyncDispose]: () => server.stop(),
  };
}

export interface NumberedCaptures {
  /** When each number was acknowledged, in milliseconds. */
  readonly acknowledged: ReadonlyMap<number, number>;
  stop(): Promise<void>;
}

/** Captures 0, 1, 2, … one after the other until it is stopped or the database goes away. */
export function captureNumbered(store: Store, target: CaptureTarget): NumberedCaptures {
  const acknowledged = new Map<number, number>();
  let stopped = false;
  const capturing = (async () => {
    for (let n = 0; !stopped; n++) {
      if (!(await captureNumber(store, target, n))) return;
      acknowledged.set(n, Date.now());
    }
  })();
  return {
    acknowledged,
    async stop() {
      stopped = true;
      await capturing;
    },
  };
}

export async function captureNumber(store: Store, target: CaptureTarget, n: number): Promise<boolean> {
  const events = [{ payload: JSON.stringify({ n }), idempotencyKey: `event-${n}` }];
  const outcomes = await captureGroup(store, [{ target, events }]).catch(() => []);
  return outcomes[0]?.[0]?.kind === "captured";
}

/** The numbers of all events, with duplicates. */
export async function readNumbers(store: Store): Promise<number[]> {
  const rows = await store.sql<{ n: number }[]>`select (payload::json->>'n')::int as n from onedata.events`;
  return rows.map(({ n }) => n);
}
