import { OneDataError } from "@onedata/core";
import type { ConnectionKind } from "../sink.ts";
import { postgresConnectionSchema, readPostgresConnection } from "./connection-config.ts";
import type { Pools } from "./pools.ts";
import { shorten, toSqlFailure } from "./sqlstate.ts";

export function createPostgresConnectionKind(pools: Pools): ConnectionKind {
  return {
    kind: "postgres",
    title: "Postgres database",
    configSchema: postgresConnectionSchema,
    async check(connection, tenant, signal) {
      try {
        await pools.use({ connection: readPostgresConnection(connection.config), tenant, signal }, (database) => database.query("select 1"));
        return "";
      } catch (error) {
        return error instanceof OneDataError ? error.message : shorten(toSqlFailure(error).message, 300);
      }
    },
  };
}
