/**
 * For tests: puts a row of a tenant into every table that could hold one, and counts what is there, both from the catalogue.
 * Non-duty: production code never imports this.
 */
import { randomUUID } from "node:crypto";
import type { PipelineId, TenantId } from "@onedata/core";
import type { Sql } from "../connection.ts";

/** By the names of columns. */
export type Ids = Readonly<Record<string, string>>;

type Column = { name: string; type: string; required: boolean; check: string | null };
type Table = { name: string; columns: Column[] };

/** Of the installation, or of what only names the tenant that was. */
const NOT_THE_TENANTS = new Set(["tenants", "erasures", "migrations"]);

async function listTables(sql: Sql): Promise<Table[]> {
  const rows = await sql<{ table: string; name: string; type: string; required: boolean; check: string | null }[]>`
    select c.relname as table, a.attname as name, format_type(a.atttypid, null) as type,
           a.attnotnull and not a.atthasdef and a.attidentity = '' as required,
           (select pg_get_constraintdef(k.oid) from pg_constraint k where k.conrelid = c.oid and k.contype = 'c' and k.conkey = array[a.attnum] limit 1) as check
      from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     where c.relnamespace = 'onedata'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition order by c.relname, a.attnum`;
  const tables = new Map<string, Column[]>();
  for (const { table, ...column } of rows) tables.set(table, [...(tables.get(table) ?? []), column]);
  return [...tables].filter(([name]) => !NOT_THE_TENANTS.has(name)).map(([name, columns]) => ({ name, columns }));
}

export async function fillEveryTable(sql: Sql, { tenantId, pipelineId }: { tenantId: TenantId; pipelineId: PipelineId }): Promise<Ids> {
  const [made] = await sql<{ id: bigint; other: bigint; lane: bigint }[]>`
    select onedata.next_id() as id, onedata.next_id() as other, (select max(id) from onedata.lanes where pipeline_id = ${pipelineId}) as lane`;
  const batch = String(made?.id ?? 0n);
  const other = String(made?.other ?? 0n);
  const ids: Ids = {
    tenant_id: String(tenantId),
    pipeline_id: String(pipelineId),
    lane_id: String(made?.lane ?? 0n),
    batch_id: batch,
    src_batch_id: batch,
    import_id: other,
    job_id: other,
    owner_id: other,
    subscription_id: other,
    notification_id: other,
    source_id: other,
  };
  /** Ids of the owners themselves. */
  const own: Readonly<Record<string, string>> = {
    batches: batch,
    imports: other,
    jobs: other,
    subscriptions: other,
    notifications: other,
    sources: other,
  };
  const known = new Set(["lanes", "pipelines", "pipeline_versions"]);
  const tables = (await listTables(sql)).filter(({ name, columns }) => !known.has(name) && columns.some((column) => Object.hasOwn(ids, column.name)));
  // A foreign key wants its owner first: those that fail are tried again after the others.
  for (let left = tables, before = 0; left.length > 0 && left.length !== before; ) {
    before = left.length;
    const failed: Table[] = [];
    for (const table of left) {
      const wanted = table.columns.filter(
        ({ name, required }) => required || Object.hasOwn(ids, name) || (name === "id" && own[table.name] !== undefined),
      );
      const values = wanted.map((column) =>
        column.name === "id" && own[table.name] !== undefined ? (own[table.name] ?? "") : (ids[column.name] ?? valueOf(column)),
      );
      const columns = wanted.map(({ name }) => `"${name}"`).join(", ");
      try {
        await sql.unsafe(
          `insert into onedata."${table.name}" (${columns}) values (${wanted.map((column, i) => `$${i + 1}::text::${column.type}`).join(", ")})`,
          values,
        );
      } catch (error) {
        failed.push(table);
        if (left.length === 1) throw error;
      }
    }
    left = failed;
    if (left.length === before) throw new Error(`cannot fill ${left.map(({ name }) => name).join(", ")}: teach this file their values`);
  }
  return ids;
}

function valueOf({ type, check }: Column): string {
  const allowed = /'([^']+)'::text/.exec(check ?? "")?.[1];
  if (allowed !== undefined) return allowed;
  if (type === "uuid") return randomUUID();
  if (type.endsWith("[]")) return "{}";
  if (type.startsWith("json")) return "{}";
  if (type === "boolean") return "false";
  if (type.startsWith("timestamp")) return new Date().toISOString();
  if (type === "bytea") return "\\x00";
  return /int|real|double|xid8/.test(type) ? "1" : randomUUID();
}

/** Rows that name one of the tenant's ids, per table and column. */
export async function countOf(sql: Sql, ids: Ids): Promise<{ table: string; rows: number }[]> {
  const counts: { table: string; rows: number }[] = [];
  for (const { name, columns } of await listTables(sql)) {
    for (const column of columns.filter((each) => Object.hasOwn(ids, each.name))) {
      const [row] = await sql.unsafe<{ rows: number }[]>(
        `select count(*)::int as rows from onedata."${name}" where "${column.name}" = $1::text::bigint`,
        [ids[column.name] ?? ""],
      );
      counts.push({ table: `${name}.${column.name}`, rows: row?.rows ?? 0 });
    }
  }
  return counts;
}
