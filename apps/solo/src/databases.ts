/** Solo's two databases on the embedded server: the platform's own, and `warehouse` for the examples, with a role that can reach nothing else. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { connect, type Sql } from "@onedata/store";

const PLATFORM = "onedata";
const WAREHOUSE = "warehouse";
const WAREHOUSE_TABLES = new URL("../../../examples/warehouse.sql", import.meta.url);

const withDatabase = (url: string, database: string): string => {
  const changed = new URL(url);
  changed.pathname = `/${database}`;
  return changed.href;
};

/** The platform's database on the embedded server, made when it is missing; answers its URL. */
export async function createPlatformDatabase(serverUrl: string): Promise<string> {
  await withConnection(serverUrl, (sql) => createDatabase(sql, PLATFORM));
  return withDatabase(serverUrl, PLATFORM);
}

export type WarehouseAccess = {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly password: string;
};

/** Makes the example database, its tables and its role, whose password is new each time it is asked for. */
export async function openWarehouse(serverUrl: string): Promise<WarehouseAccess> {
  const password = randomBytes(18).toString("base64url");
  await withConnection(serverUrl, async (sql) => {
    const [role] = await sql`select 1 from pg_roles where rolname = ${WAREHOUSE}`;
    await sql.unsafe(`${role === undefined ? "create" : "alter"} role ${WAREHOUSE} login password '${password}'`);
    await createDatabase(sql, WAREHOUSE);
    await sql.unsafe(`alter database ${WAREHOUSE} owner to ${WAREHOUSE}`);
    await sql.unsafe(`revoke connect on database ${PLATFORM} from public`);
  });
  const own = new URL(withDatabase(serverUrl, WAREHOUSE));
  own.username = WAREHOUSE;
  own.password = password;
  await withConnection(own.href, (sql) => sql.unsafe(readFileSync(WAREHOUSE_TABLES, "utf8")));
  return { host: own.hostname, port: Number(own.port), database: WAREHOUSE, user: WAREHOUSE, password };
}

async function createDatabase(sql: Sql, name: string): Promise<void> {
  const [known] = await sql`select 1 from pg_database where datname = ${name}`;
  if (known === undefined) await sql.unsafe(`create database ${name}`);
}

async function withConnection<T>(url: string, work: (sql: Sql) => Promise<T>): Promise<T> {
  const sql = connect(url, { max: 1, applicationName: "onedata-setup" });
  try {
    return await work(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}
