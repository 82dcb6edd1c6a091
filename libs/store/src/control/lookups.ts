/**
 * Lists uploaded for `enrich.lookup`: kept as NDJSON, versioned by the hash of their content, replaced as a whole.
 * `createLookups(sql).forTenant(tenantId)` answers batched gets from lists held in memory.
 *
 * Invariants:
 * 1. Both ways of a replacement are atomic: a reader sees the old list or the new one.
 * 2. A cached list is at most `maxAgeMs` behind; an index over a column is built once per list and column; memory is bounded by `maxBytes` of list text.
 */
import { OneDataError, type TenantId } from "@onedata/core";
import type { Sql, Transaction } from "../connection.ts";
import { type Actor, recordChange } from "./audit.ts";

export type LookupRow = {
  readonly name: string;
  readonly hash: string;
  readonly rows: number;
  readonly columns: readonly string[];
  readonly updatedAt: Date;
};

/** One row of a list: JSON values by column. */
export type LookupRecord = Readonly<Record<string, string | number | boolean | null>>;

const notFound = (name: string): OneDataError =>
  new OneDataError("lookup.not_found", `no lookup table ${JSON.stringify(name)}; upload it with PUT /v1/lookups/${name}`);

/** `ndjson`: one object per line, all with the same members in the same order; the first member is the key column. */
export async function putLookup(
  sql: Sql,
  tenantId: TenantId,
  actor: Actor,
  list: { name: string; hash: string; ndjson: string; rows: number },
): Promise<LookupRow> {
  return sql.begin(async (tx) => {
    await tx`
      insert into onedata.lookup_versions (tenant_id, name, hash, row_count, bytes, content)
      values (${tenantId}, ${list.name}, ${list.hash}, ${list.rows}, ${Buffer.byteLength(list.ndjson)}, ${list.ndjson}) on conflict do nothing`;
    const [changed] = await tx`
      insert into onedata.lookups as l (tenant_id, name, hash, updated_by) values (${tenantId}, ${list.name}, ${list.hash}, ${actor.name})
      on conflict (tenant_id, name) do update set hash = excluded.hash, updated_by = excluded.updated_by, updated_at = now() where l.hash <> excluded.hash returning 1`;
    if (changed !== undefined) {
      // One version back stays, for readers in the middle of a replacement.
      await tx`
        delete from onedata.lookup_versions where tenant_id = ${tenantId} and name = ${list.name} and hash not in (
          select hash from onedata.lookup_versions where tenant_id = ${tenantId} and name = ${list.name} order by hash = ${list.hash} desc, created_at desc limit 2)`;
      await recordChange(tx, tenantId, actor, { action: "PutLookup", subject: `lookups/${list.name}`, detail: { rows: list.rows, hash: list.hash } });
    }
    return getLookup(tx, tenantId, list.name);
  });
}

export async function getLookup(sql: Sql | Transaction, tenantId: TenantId, name: string): Promise<LookupRow> {
  const row = await findLookup(sql, tenantId, name);
  if (row === undefined) throw notFound(name);
  return row;
}

export async function findLookup(sql: Sql | Transaction, tenantId: TenantId, name: string): Promise<LookupRow | undefined> {
  const [row] = await selectLookups(sql, tenantId, name);
  return row;
}

/** By name. */
export const listLookups = (sql: Sql, tenantId: TenantId): Promise<LookupRow[]> => selectLookups(sql, tenantId, undefined);

export async function deleteLookup(sql: Sql, tenantId: TenantId, actor: Actor, name: string): Promise<void> {
  await sql.begin(async (tx) => {
    const [row] = await tx`delete from onedata.lookups where tenant_id = ${tenantId} and name = ${name} returning 1`;
    if (row === undefined) throw notFound(name);
    await tx`delete from onedata.lookup_versions where tenant_id = ${tenantId} and name = ${name}`;
    await recordChange(tx, tenantId, actor, { action: "DeleteLookup", subject: `lookups/${name}` });
  });
}

async function selectLookups(sql: Sql | Transaction, tenantId: TenantId, name: string | undefined): Promise<LookupRow[]> {
  const rows = await sql<{ name: string; hash: string; row_count: number; first: string; updated_at: Date }[]>`
    select l.name, l.hash, v.row_count, split_part(v.content, E'\n', 1) as first, l.updated_at
      from onedata.lookups l join onedata.lookup_versions v using (tenant_id, name, hash)
     where l.tenant_id = ${tenantId} ${name === undefined ? sql`` : sql`and l.name = ${name}`} order by l.name limit 1000`;
  return rows.map((row) => ({
    name: row.name,
    hash: row.hash,
    rows: row.row_count,
    columns: row.first === "" ? [] : Object.keys(parseRow(row.first)),
    updatedAt: row.updated_at,
  }));
}

/** Same shape as the port of `enrich.lookup`. */
export interface TenantLookups {
  /** Rows by the text of `column`; `""` is the first column. A key without a row is missing. Throws `lookup.not_found`. */
  get(table: string, column: string, keys: readonly string[]): Promise<ReadonlyMap<string, LookupRecord>>;
}

export interface Lookups {
  forTenant(tenantId: TenantId): TenantLookups;
}

type CachedList = {
  readonly hash: string;
  readonly rows: readonly LookupRecord[];
  readonly columns: readonly string[];
  readonly bytes: number;
  readonly indexes: Map<string, ReadonlyMap<string, LookupRecord>>;
};
type CacheEntry = { checkedAtMs: number; list: CachedList | undefined; loading: Promise<CachedList> | undefined };

export function createLookups(sql: Sql, { maxAgeMs = 2_000, maxBytes = 64 * 1024 * 1024, nowMs = () => performance.now() } = {}): Lookups {
  const cache = new Map<string, CacheEntry>();
  const load = async (tenantId: TenantId, name: string, known: CachedList | undefined): Promise<CachedList> => {
    const [row] = await sql<{ hash: string; content: string | null }[]>`
      select l.hash, case when l.hash <> ${known?.hash ?? ""} then v.content end as content
        from onedata.lookups l join onedata.lookup_versions v using (tenant_id, name, hash) where l.tenant_id = ${tenantId} and l.name = ${name}`;
    if (row === undefined) throw notFound(name);
    if (row.content === null && known !== undefined) return known;
    const rows = (row.content ?? "")
      .split("\n")
      .filter((line) => line !== "")
      .map(parseRow);
    return { hash: row.hash, rows, columns: Object.keys(rows[0] ?? {}), bytes: (row.content ?? "").length, indexes: new Map() };
  };
  const read = async (tenantId: TenantId, name: string): Promise<CachedList> => {
    const key = `${tenantId} ${name}`;
    const entry = cache.get(key) ?? { checkedAtMs: Number.NEGATIVE_INFINITY, list: undefined, loading: undefined };
    cache.delete(key);
    cache.set(key, entry);
    if (entry.list !== undefined && nowMs() - entry.checkedAtMs < maxAgeMs) return entry.list;
    entry.loading ??= load(tenantId, name, entry.list)
      .then((list) => {
        entry.list = list;
        entry.checkedAtMs = nowMs();
        evict(cache, maxBytes);
        return list;
      })
      .finally(() => {
        entry.loading = undefined;
      });
    try {
      return await entry.loading;
    } catch (error) {
      cache.delete(key);
      if (error instanceof OneDataError) throw error;
      throw new OneDataError("store.unavailable", `lookup table ${JSON.stringify(name)} cannot be read now`, { cause: error });
    }
  };
  return {
    forTenant: (tenantId) => ({
      async get(table, column, keys) {
        const list = await read(tenantId, table);
        const index = indexOf(list, table, column);
        const found = new Map<string, LookupRecord>();
        for (const key of keys) {
          const row = index.get(key);
          if (row !== undefined) found.set(key, row);
        }
        return found;
      },
    }),
  };
}

function indexOf(list: CachedList, table: string, column: string): ReadonlyMap<string, LookupRecord> {
  const name = column === "" ? (list.columns[0] ?? "") : column;
  const known = list.indexes.get(name);
  if (known !== undefined) return known;
  if (list.columns.length > 0 && !list.columns.includes(name)) {
    throw new OneDataError(
      "lookup.not_found",
      `lookup table ${JSON.stringify(table)} has no column ${JSON.stringify(name)}; it has ${list.columns.join(", ")}`,
    );
  }
  const index = new Map<string, LookupRecord>();
  for (const row of list.rows) {
    const value = row[name];
    const key = value === undefined || value === null ? undefined : String(value);
    // The first row of a key wins, as a reader of the file would expect.
    if (key !== undefined && !index.has(key)) index.set(key, row);
  }
  list.indexes.set(name, index);
  return index;
}

function evict(cache: Map<string, CacheEntry>, maxBytes: number): void {
  let bytes = 0;
  for (const entry of cache.values()) bytes += entry.list?.bytes ?? 0;
  for (const [key, entry] of cache) {
    if (bytes <= maxBytes || cache.size === 1) return;
    bytes -= entry.list?.bytes ?? 0;
    cache.delete(key);
  }
}

function parseRow(line: string): LookupRecord {
  const row: unknown = JSON.parse(line);
  if (typeof row !== "object" || row === null) return {};
  return Object.fromEntries(
    Object.entries(row).map(([column, value]) => [
      column,
      typeof value === "string" || typeof value === "number" || typeof value === "boolean" ? value : null,
    ]),
  );
}
