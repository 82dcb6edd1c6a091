/** Forgets rows of the sinks' ledgers that belong to nothing any more. A sink that is away is visited the next time; its rows do no harm. */
import { isJsonObject, OneDataError, toTenantId } from "@onedata/core";
import { parseJson } from "@onedata/formats";
import { createLedgerPurge } from "@onedata/sinks";
import { readInstallationId, type Sql } from "@onedata/store";
import { connectionForRun, type SecretBox } from "@onedata/store/control";
import { listLedgerConnections, readLedgerFloor } from "@onedata/store/retention";

export type PurgePorts = {
  readonly sql: Sql;
  readonly box: SecretBox;
  /** Where tenants' databases may be, beside the public internet; absent = anywhere. */
  readonly allowedDatabaseAddresses?: readonly string[] | undefined;
  readonly log: { warn(message: string, fields: Readonly<Record<string, unknown>>): void };
};

/** Returns how many rows went. */
export async function purgeLedgers({ sql, box, allowedDatabaseAddresses, log }: PurgePorts, signal: AbortSignal): Promise<number> {
  const floor = await readLedgerFloor(sql);
  if (floor === undefined) return 0;
  const installation = await readInstallationId(sql);
  await using purge = createLedgerPurge(allowedDatabaseAddresses === undefined ? {} : { allowedAddresses: allowedDatabaseAddresses });
  let rows = 0;
  for (const { tenantId, name } of await listLedgerConnections(sql)) {
    if (signal.aborted) break;
    try {
      const stored = await connectionForRun(sql, toTenantId(tenantId), name, box);
      const config = parseJson(stored.configJson);
      const connection = { name, kind: stored.kind, config: isJsonObject(config) ? config : {} };
      rows += await purge.purge(connection, { tenant: String(tenantId), installation, ...floor, signal });
    } catch (error) {
      if (signal.aborted) break;
      log.warn("a sink's ledger could not be tidied; it is tried again", {
        tenant: String(tenantId),
        connection: name,
        error: OneDataError.from(error).message,
      });
    }
  }
  return rows;
}
