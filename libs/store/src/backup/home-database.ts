/**
 * The embedded database of a home, running or not: adopts a running server, starts a stopped one for as long as it is needed.
 * Invariant: a server that OneData runs on is never stopped, and OneData does not start on one that is about to be stopped: the home's lock tells.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { OneDataError } from "@onedata/core";
import { connect, type Sql } from "../connection.ts";
import { waitForGuard } from "../embedded/guard.ts";
import { lockHome } from "../embedded/home-lock.ts";
import { locateDataDir, openEmbeddedPostgres } from "../embedded/server.ts";

export interface HomeDatabase extends AsyncDisposable {
  readonly dataDir: string;
  /** Of the server, as superuser; `postgres` as database. */
  readonly url: string;
  readonly sql: Sql;
}

/** Throws `config.problems` when the home has no embedded database. */
export async function openHomeDatabase(home: string): Promise<HomeDatabase> {
  if (!existsSync(home))
    throw new OneDataError("config.problems", `there is no home ${home}: ONEDATA_HOME or --home names the folder of \`npm start\``);
  const dataDir = locateDataDir(join(home, "postgres"));
  if (!existsSync(join(dataDir, "pg", "PG_VERSION")))
    throw new OneDataError("config.problems", `${home} has no embedded database; for a database of your own give its URL with --database`);
  const lock = tryLock(home);
  try {
    if (lock !== undefined) await waitForGuard(dataDir);
    const server = await openEmbeddedPostgres({ dataDir: join(home, "postgres") });
    const sql = connect(server.url, { max: 1, applicationName: "onedata-backup" });
    return {
      dataDir,
      url: server.url,
      sql,
      async [Symbol.asyncDispose]() {
        await sql.end({ timeout: 5 });
        if (lock !== undefined && !server.adopted) await server.stop();
        await lock?.[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await lock?.[Symbol.asyncDispose]();
    throw error;
  }
}

/** `undefined` = OneData runs in it. */
function tryLock(home: string): AsyncDisposable | undefined {
  try {
    return lockHome(home);
  } catch (error) {
    if (error instanceof OneDataError && error.message.includes("another OneData")) return undefined;
    throw error;
  }
}
