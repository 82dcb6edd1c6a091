/**
 * Removes the files of erased tenants.
 *
 * Invariants:
 * 1. Nobody writes for the tenant while its folder goes: its rows are gone, no exporter of it is left here, and the lock says that none is elsewhere. Who gets the
 *    lock waits as long as an exporter does that takes over a folder.
 * 2. It may be cut off anywhere and is done again from the start; the database hears of it when the folder is gone. Until then a new tenant of that name has no exporter.
 * 3. Links are removed, never followed, and nothing above the tenant's folder is touched.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { OneDataError, type TenantId } from "@onedata/core";
import { type Logger, sleep } from "@onedata/mesh";
import type { ExportSession } from "@onedata/store";

export type EraseFoldersTask = {
  readonly session: ExportSession;
  /** Every tenant has a folder below it. */
  readonly folder: string;
  readonly takeOverMs: number;
  readonly isExporting: (tenantId: TenantId) => boolean;
  readonly log: Logger;
  readonly signal: AbortSignal;
};

/** Never rejects for the sake of one tenant: it is tried again with the next look. Throws when the database does not answer. */
export async function removeErasedFolders({ session, folder, takeOverMs, isExporting, log, signal }: EraseFoldersTask): Promise<void> {
  for (const { tenantId, name } of await session.readErasedTenants()) {
    if (isExporting(tenantId)) continue;
    const lock = await session.lockTenant(tenantId);
    if (lock === undefined) continue;
    try {
      await sleep(takeOverMs, signal);
      if (signal.aborted) return;
      await rm(folderOf(folder, name), { recursive: true, force: true });
      await lock.reportRemoved();
      log.info("the files of an erased tenant are removed", { tenant: name });
    } catch (error) {
      log.warn("the files of an erased tenant could not be removed; trying again", { tenant: name, error });
    } finally {
      try {
        await lock[Symbol.asyncDispose]();
      } catch {
        // With its connection gone the lock is gone too.
      }
    }
  }
}

function folderOf(folder: string, tenant: string): string {
  if (tenant === "" || tenant === "." || tenant === ".." || tenant.includes("/") || tenant.includes("\\"))
    throw new OneDataError("internal", `${JSON.stringify(tenant)} is no name of a folder: remove its files by hand`);
  return join(folder, tenant);
}
