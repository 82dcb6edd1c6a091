/**
 * What exporters of file sinks ask the database: which sinks write files, and whose turn it is. `export-reader.ts` reads their outputs.
 * Invariant: of several processes one exports a sink. The lock belongs to the session that also does the reading, and ends with its connection:
 * a reader whose connection was made anew throws, since another process may have the sink by then. All exporters of a tenant share a second lock: who has
 * that alone may remove the tenant's files.
 */
import { isJsonObject, OneDataError, type PipelineId, type Plan, type TenantId, toTenantId } from "@onedata/core";
import { connect, type Sql, type Store } from "./connection.ts";
import { assertSession, createExportReader, type ExportReader, reportPosition } from "./export-reader.ts";
import type { FileSink } from "./file-sink.ts";

export interface SinkLock extends AsyncDisposable {
  readonly read: ExportReader;
  /** Throws when the connection that holds the lock is gone. */
  assertHeld(): Promise<void>;
  /** The finished files hold everything up to this position: retention may drop it. */
  report(position: string): Promise<void>;
}

export interface ExportSession extends AsyncDisposable {
  /** Of all versions: what an older one captured or left behind is exported too. */
  readFileSinks(): Promise<readonly FileSink[]>;
  /** `undefined` = another session has it. */
  lock(sink: FileSink): Promise<SinkLock | undefined>;
  /** Erased tenants whose files are still to be removed. */
  readErasedTenants(): Promise<readonly ErasedTenant[]>;
  /** Held, no session exports anything of the tenant but this one. `undefined` = another session does, or removes its files. */
  lockTenant(tenantId: TenantId): Promise<TenantLock | undefined>;
}

export type ErasedTenant = { readonly tenantId: TenantId; readonly name: string };

export interface TenantLock extends AsyncDisposable {
  /** Notes that the files are gone. Throws when the connection that held the lock is gone. */
  reportRemoved(): Promise<void>;
}

/** One connection, for all sinks that this process exports. */
export function openExportSession(store: Store): ExportSession {
  const sql = connect(store.url, {
    max: 1,
    applicationName: "onedata-export",
    parameters: { enable_seqscan: "off", enable_hashjoin: "off", enable_mergejoin: "off", enable_bitmapscan: "off" },
  });
  return {
    readFileSinks: createFileSinkList(sql),
    async lock(sink) {
      const key = `onedata.export ${sink.pipelineId} ${sink.sinkId} ${sink.path}`;
      // The session is named once by itself: a lock and the pages read under it show the same name, or the connection has changed.
      const [row] = await sql<{ locked: boolean; session: string }[]>`
        select pg_try_advisory_lock_shared(hashtextextended(${tenantKey(sink.tenantId)}, 0)) as locked,
               coalesce(nullif(current_setting('onedata.export_session', true), ''), set_config('onedata.export_session', gen_random_uuid()::text, false)) as session`;
      if (row === undefined || !row.locked) return undefined;
      const { session } = row;
      const [turn] = await sql<{ locked: boolean }[]>`
        select case when pg_try_advisory_lock(hashtextextended(${key}, 0)) then true
                    else not pg_advisory_unlock_shared(hashtextextended(${tenantKey(sink.tenantId)}, 0)) end as locked
         where current_setting('onedata.export_session', true) = ${session}`;
      if (turn?.locked !== true) return undefined;
      return {
        read: createExportReader(sql, sink, session),
        report: (position) => reportPosition(sql, sink, position),
        async assertHeld() {
          const [found] = await sql<{ session: string | null }[]>`select current_setting('onedata.export_session', true) as session`;
          assertSession(found?.session ?? null, session, sink);
        },
        async [Symbol.asyncDispose]() {
          await sql`
            select pg_advisory_unlock(hashtextextended(${key}, 0)), pg_advisory_unlock_shared(hashtextextended(${tenantKey(sink.tenantId)}, 0))
             where current_setting('onedata.export_session', true) = ${session}`;
        },
      };
    },
    async readErasedTenants() {
      const rows = await sql<{ tenant: bigint; name: string }[]>`
        select tenant, name from onedata.erasures where files_due_at is not null and files_removed_at is null order by files_due_at limit 100`;
      return rows.map(({ tenant, name }) => ({ tenantId: toTenantId(tenant), name }));
    },
    async lockTenant(tenantId) {
      const key = tenantKey(tenantId);
      const [row] = await sql<{ locked: boolean; session: string }[]>`
        select pg_try_advisory_lock(hashtextextended(${key}, 0)) as locked,
               coalesce(nullif(current_setting('onedata.export_session', true), ''), set_config('onedata.export_session', gen_random_uuid()::text, false)) as session`;
      if (row === undefined || !row.locked) return undefined;
      const { session } = row;
      return {
        async reportRemoved() {
          const noted = await sql`
            update onedata.erasures set files_removed_at = clock_timestamp()
             where tenant = ${tenantId} and current_setting('onedata.export_session', true) = ${session}`;
          if (noted.count === 0)
            throw new OneDataError("store.unavailable", "the connection that held the lock of an erased tenant's files was lost");
        },
        async [Symbol.asyncDispose]() {
          await sql`select pg_advisory_unlock(hashtextextended(${key}, 0)) where current_setting('onedata.export_session', true) = ${session}`;
        },
      };
    },
    [Symbol.asyncDispose]: () => sql.end({ timeout: 5 }),
  };
}

const tenantKey = (tenantId: TenantId): string => `onedata.export_tenant ${tenantId}`;

type Version = {
  pipeline_id: PipelineId;
  version: number;
  active_version: number | null;
  pipeline: string;
  tenant_id: TenantId;
  tenant: string;
  is_closing: boolean;
};
type VersionSink = Pick<FileSink, "sinkId" | "path" | "kind" | "config">;

/** Versions are immutable: their sinks are read once. */
function createFileSinkList(sql: Sql): ExportSession["readFileSinks"] {
  let known = new Map<string, readonly VersionSink[]>();
  const keyOf = (pipelineId: PipelineId, version: number): string => `${pipelineId}:${version}`;
  return async () => {
    // The condition is that of the index `pipeline_versions_files`.
    const versions = await sql<Version[]>`
      select v.pipeline_id, v.version, p.active_version, p.name as pipeline, p.tenant_id, t.name as tenant,
             p.state = 'deleting' and not exists (select from onedata.lanes l join onedata.queue q on q.lane_id = l.id where l.pipeline_id = p.id) as is_closing
        from onedata.pipeline_versions v join onedata.pipelines p on p.id = v.pipeline_id join onedata.tenants t on t.id = p.tenant_id
       where v.plan::text like '%"file.%'
         -- Its name was another tenant's, whose files are still there.
         and not exists (select from onedata.erasures e where e.name = t.name and e.files_due_at is not null and e.files_removed_at is null)
       order by v.pipeline_id, v.version`;
    const fresh = versions.filter((v) => !known.has(keyOf(v.pipeline_id, v.version)));
    const sinks = new Map<string, readonly VersionSink[]>();
    if (fresh.length > 0) {
      const rows = await sql<{ pipeline_id: PipelineId; version: number; sinks: Plan["sinks"] }[]>`
        select v.pipeline_id, v.version, v.plan->'sinks' as sinks
          from unnest(${`{${fresh.map((v) => v.pipeline_id).join(",")}}`}::bigint[], ${`{${fresh.map((v) => v.version).join(",")}}`}::int[]) w(pipeline_id, version)
          join onedata.pipeline_versions v using (pipeline_id, version)`;
      for (const row of rows) sinks.set(keyOf(row.pipeline_id, row.version), toSinks(row.sinks));
    }
    // What is gone is forgotten.
    known = new Map(versions.map((v) => keyOf(v.pipeline_id, v.version)).map((key) => [key, known.get(key) ?? sinks.get(key) ?? []]));
    const found = new Map<string, FileSink & { readonly isActive: boolean }>();
    for (const v of versions) {
      for (const sink of known.get(keyOf(v.pipeline_id, v.version)) ?? []) {
        const key = `${v.pipeline_id} ${sink.sinkId} ${sink.path}`;
        if (found.get(key)?.isActive === true) continue;
        found.set(key, {
          ...sink,
          tenantId: v.tenant_id,
          tenant: v.tenant,
          pipelineId: v.pipeline_id,
          pipeline: v.pipeline,
          isClosing: v.is_closing,
          isActive: v.version === v.active_version,
        });
      }
    }
    return [...found.values()].map(({ isActive: _, ...sink }) => sink);
  };
}

function toSinks(sinks: Plan["sinks"]): VersionSink[] {
  return sinks.flatMap(({ id, kind, config }) => {
    const path = isJsonObject(config) ? config["path"] : undefined;
    return kind.startsWith("file.") && isJsonObject(config) && typeof path === "string" ? [{ sinkId: id, kind, config, path }] : [];
  });
}
