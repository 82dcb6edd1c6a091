/** Connections with their secrets, for runs. Kept for two seconds: a changed secret counts at once for people, and a run does not ask per call. */
import type { transformV1 } from "@onedata/contracts";
import { toTenantId } from "@onedata/core";
import type { Sql } from "@onedata/store";
import { connectionForRun, type SecretBox } from "@onedata/store/control";

const MAX_AGE_MS = 2_000;
const MAX_ENTRIES = 5_000;

export type ReadConnection = (tenant: string, name: string) => Promise<transformV1.Connection>;

/** Throws `connection.not_found`; a failure is never kept. */
export function createConnectionReader(sql: Sql, box: SecretBox, monotonicMs: () => number): ReadConnection {
  const cache = new Map<string, { readonly readMs: number; readonly connection: Promise<transformV1.Connection> }>();
  const read = async (tenant: string, name: string): Promise<transformV1.Connection> => {
    const { kind, configJson } = await connectionForRun(sql, toTenantId(BigInt(tenant)), name, box);
    return { name, kind, configJson: new TextEncoder().encode(configJson) };
  };
  return (tenant, name) => {
    const key = `${tenant}\n${name}`;
    const known = cache.get(key);
    if (known !== undefined && monotonicMs() - known.readMs < MAX_AGE_MS) return known.connection;
    if (cache.size >= MAX_ENTRIES) cache.clear();
    const connection = read(tenant, name);
    cache.set(key, { readMs: monotonicMs(), connection });
    connection.catch(() => cache.delete(key));
    return connection;
  };
}
