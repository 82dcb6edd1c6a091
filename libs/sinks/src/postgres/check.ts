/** What a spec's author wants to know before the first event: table, columns, unique index, rights, ledger. Reads only. */
import { OneDataError, toPointer, type Violation } from "@onedata/core";
import type { CheckInput } from "../sink.ts";
import { readPostgresConnection } from "./connection-config.ts";
import { LEDGER_TABLE, ledgerDdl, quoteName } from "./ledger.ts";
import type { Pools, SinkDatabase } from "./pools.ts";
import { type PostgresSinkConfig, readPostgresSinkConfig } from "./sink-config.ts";
import { shorten, toSqlFailure } from "./sqlstate.ts";
import { type Table, tableKey } from "./tables.ts";

export async function checkPostgresSink(
  kind: string,
  pools: Pools,
  { config, connection, tenant, signal }: CheckInput,
): Promise<readonly Violation[]> {
  try {
    const sink = readPostgresSinkConfig(kind, config);
    if (connection?.kind !== "postgres")
      return [
        problem(
          "connection",
          `${kind} needs a connection of kind postgres, ${connection === undefined ? "none is given" : `${connection.name} is of kind ${connection.kind}`}`,
        ),
      ];
    return await pools.use({ connection: readPostgresConnection(connection.config), tenant, signal }, (database) => checkDatabase(database, sink));
  } catch (error) {
    if (error instanceof OneDataError && error.code === "config.invalid")
      return error.violations.length > 0 ? error.violations : [problem("connection", error.message)];
    const message = error instanceof OneDataError ? error.message : toSqlFailure(error).message;
    return [{ pointer: "/connection", code: "sink.unavailable", detail: `${connection?.name ?? "connection"}: ${shorten(message, 300)}` }];
  }
}

async function checkDatabase(database: SinkDatabase, config: PostgresSinkConfig): Promise<readonly Violation[]> {
  const name = { schema: config.schema ?? database.schema, table: config.table };
  const label = `${name.schema}.${name.table}`;
  database.tables.forget(name);
  const table = (await database.tables.read(database, [name])).get(tableKey(name));
  if (table === undefined)
    return [
      problem("table", `table ${label} does not exist in ${database.address}: create it, or correct schema and table`),
      ...(await checkLedger(database)),
    ];
  const violations: Violation[] = [];
  for (const column of config.columns?.keys() ?? []) {
    const found = table.columns.get(column);
    if (found === undefined)
      violations.push(nested("columns", column, `${label} has no column ${JSON.stringify(column)}; it has: ${columnList(table)}`));
    else if (!found.writable)
      violations.push(nested("columns", column, `column ${JSON.stringify(column)} of ${label} is generated and takes no value`));
  }
  for (const column of table.columns.values()) {
    const filled = config.columns === undefined || config.columns.has(column.name) || column.name === config.newerWins;
    if (column.notNull && !column.hasDefault && column.writable && !filled)
      violations.push(
        problem(
          "columns",
          `column ${JSON.stringify(column.name)} of ${label} may not be null and has no default: say in columns where it comes from`,
        ),
      );
  }
  if (config.newerWins !== undefined) {
    const type = table.columns.get(config.newerWins)?.type;
    if (type === undefined)
      violations.push(
        problem(
          "newerWins",
          `${label} has no column ${JSON.stringify(config.newerWins)}; add: alter table ${label} add column ${quoteName(config.newerWins)} numeric`,
        ),
      );
    else if (!/^numeric(?:\(\d+,0\))?$/.test(type))
      violations.push(problem("newerWins", `column ${JSON.stringify(config.newerWins)} of ${label} is ${type}; it must be numeric`));
  }
  if (config.key !== undefined) violations.push(...(await checkKey(database, table, config.key)));
  violations.push(...(await checkRights(database, table, config)), ...(await checkLedger(database)));
  return violations;
}

async function checkKey(database: SinkDatabase, table: Table, key: readonly string[]): Promise<readonly Violation[]> {
  const label = `${table.schema}.${table.table}`;
  const unknown = key.filter((column) => !table.columns.has(column));
  if (unknown.length > 0)
    return unknown.map((column) => problem("key", `${label} has no column ${JSON.stringify(column)}; it has: ${columnList(table)}`));
  const indexes = await database.query<{ columns: string[] }>(
    `select (select json_agg(a.attname order by a.attname) from pg_attribute a where a.attrelid = i.indrelid and a.attnum = any (i.indkey[0 : i.indnkeyatts - 1])) as columns
    from pg_index i join pg_class c on c.oid = i.indrelid join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = $2 and i.indisunique and i.indisvalid and i.indimmediate and i.indpred is null and i.indexprs is null`,
    [table.schema, table.table],
  );
  const wanted = JSON.stringify([...key].sort());
  if (indexes.some(({ columns }) => JSON.stringify([...columns].sort()) === wanted)) return [];
  const names = key.map(quoteName).join(", ");
  return [
    problem(
      "key",
      `${label} has no unique index on (${key.join(", ")}): create unique index on ${quoteName(table.schema)}.${quoteName(table.table)} (${names})`,
    ),
  ];
}

async function checkRights(database: SinkDatabase, table: Table, config: PostgresSinkConfig): Promise<readonly Violation[]> {
  const needed = config.key === undefined ? ["INSERT"] : ["INSERT", "UPDATE", "SELECT"];
  const name = `${quoteName(table.schema)}.${quoteName(table.table)}`;
  // A right on some columns is enough: which ones are written is known only when records come.
  const rows = await database.query<{ needed: string; held: boolean; role: string }>(
    `select r.needed, has_table_privilege($1::text, r.needed) or has_any_column_privilege($1::text, r.needed) as held, current_user::text as role
    from string_to_table($2::text, ',') as r(needed)`,
    [name, needed.join(",")],
  );
  return rows
    .filter((row) => !row.held)
    .map((row) =>
      problem(
        "table",
        `role ${row.role} lacks ${row.needed} on ${table.schema}.${table.table}: grant ${row.needed.toLowerCase()} on ${name} to ${quoteName(row.role)}`,
      ),
    );
}

async function checkLedger(database: SinkDatabase): Promise<readonly Violation[]> {
  const [row] = await database.query<{ there: boolean; usable: boolean | null; may_create: boolean | null; role: string }>(
    `select c.oid is not null as there,
      has_table_privilege(c.oid, 'SELECT') and has_table_privilege(c.oid, 'INSERT') and has_table_privilege(c.oid, 'UPDATE') as usable,
      has_schema_privilege(n.oid, 'CREATE') as may_create, current_user::text as role
    from (select 1) one left join pg_namespace n on n.nspname = $1 left join pg_class c on c.relnamespace = n.oid and c.relname = $2`,
    [database.schema, LEDGER_TABLE],
  );
  if (row === undefined || (row.there ? row.usable === true : row.may_create === true)) return [];
  const ddl = ledgerDdl(database.schema).replace(/\s+/g, " ");
  const grant = `grant select, insert, update on ${quoteName(database.schema)}.${LEDGER_TABLE} to ${quoteName(row.role)}`;
  return [
    problem(
      "connection",
      row.there
        ? `role ${row.role} may not use the ledger: ${grant}`
        : `role ${row.role} may not make the ledger in schema ${database.schema}; let a DBA run: ${ddl}; ${grant}`,
    ),
  ];
}

const columnList = (table: Table): string => shorten([...table.columns.keys()].join(", "), 200);
const problem = (member: string, detail: string): Violation => ({ pointer: toPointer([member]), code: "config.invalid", detail });
const nested = (member: string, name: string, detail: string): Violation => ({ pointer: toPointer([member, name]), code: "config.invalid", detail });
