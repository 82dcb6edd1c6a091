/**
 * Erases a tenant with everything it captured.
 *
 * Invariants:
 * 1. The mark is one transaction: from its commit no token of the tenant is good, no capture is taken, no batch is claimed. Runs in flight end under the fence:
 *    their queue rows are gone, so a completion writes nothing.
 * 2. The work is small statements, each on its own: it may be cut off anywhere, and any process goes on. What is left is found by looking, not by remembering.
 * 3. It is done when a whole pass finds nothing AND began after everything that was under way at the mark had ended (`GRACE_SECONDS`, and no older writer).
 * 4. Tables are found in the catalogue by their columns, so a table that is added later is erased too; what belongs to a tenant by another way than `tenant_id`
 *    or `pipeline_id` is listed below. A test looks for leftovers in every table there is.
 * 5. Its files go after its rows: then nothing writes any (`files_due_at`). Whoever writes files removes the folder and says so; where the installation has file sinks,
 *    the erasure has not ended before. Until the folder is gone, no files are written for a new tenant of that name.
 * 6. What stays: this row, and one in the audit log of who asked. Neither has content.
 */
import { OneDataError, type TenantId, toTenantId } from "@onedata/core";
import type { Sql } from "../connection.ts";
import { type Actor, recordChange } from "../control/audit.ts";
import { listPipelinesWithBatches } from "./delete-early.ts";
import { type ErasePace, eraseBatches, eraseRows } from "./erase-rows.ts";

export type Erasure = {
  readonly state: "erasing" | "erased";
  readonly erasedRows: number;
  /** Empty when it is done. */
  readonly waitingFor: string;
};

const GRACE_SECONDS = 10;
const FILES_WAIT = "the removal of its files: a load process with the folder of exports does it, start one if none runs";

/** Asking again tells how far it is. Throws `tenant.not_found`, and `request.invalid` for the tenant of the caller. */
export async function askErasure(sql: Sql, actorTenantId: TenantId, actor: Actor, name: string): Promise<Erasure> {
  const [known] = await sql<ErasureRow[]>`
    select rows_erased, waiting_for, finished_at from onedata.erasures
     where name = ${name} and (finished_at is null or not exists (select from onedata.tenants where name = ${name})) order by asked_at desc limit 1`;
  if (known !== undefined) return toErasure(known);
  const [tenant] = await sql<{ id: bigint }[]>`select id from onedata.tenants where name = ${name}`;
  if (tenant === undefined) throw new OneDataError("tenant.not_found", `no tenant ${JSON.stringify(name)}`);
  if (tenant.id === actorTenantId)
    throw new OneDataError("request.invalid", `${JSON.stringify(name)} is your own tenant; another operator's client must erase it`, {
      violations: [{ pointer: "/tenant", code: "own", detail: "nobody erases the tenant they act for" }],
    });
  const tenantId = toTenantId(tenant.id);
  const withBatches = await listPipelinesWithBatches(sql, tenantId);
  await sql.begin(async (tx) => {
    await tx`select 1 from onedata.tenants where id = ${tenantId} for update`;
    await tx`
      insert into onedata.erasures (tenant, name, asked_by, asked_by_tenant, pipelines, waiting_for, awaits_files)
      select ${tenantId}, ${name}, ${actor.name}, ${actorTenantId}, coalesce(array_agg(distinct p.id), '{}'), 'calls that are under way',
             exists (select from onedata.pipeline_versions v where v.plan::text like '%"file.%')
        from (select id from onedata.pipelines where tenant_id = ${tenantId} union select unnest(${`{${withBatches.join(",")}}`}::bigint[])
              union select pipeline_id from onedata.dead_letters where tenant_id = ${tenantId}
              union select pipeline_id from onedata.imports where tenant_id = ${tenantId}
              union select pipeline_id from onedata.jobs where tenant_id = ${tenantId}) p
      on conflict do nothing`;
    await tx`update onedata.tenants set state = 'erasing' where id = ${tenantId}`;
    await tx`update onedata.principals set revoked_at = coalesce(revoked_at, now()), secret_hash = null where tenant_id = ${tenantId}`;
    await tx`
      update onedata.pipelines set state = 'deleting', reason = 'erase', state_changed_by = ${actor.name}, state_changed_at = now() where tenant_id = ${tenantId}`;
    await tx`update onedata.lanes set parked = true where tenant_id = ${tenantId}`;
    await recordChange(tx, actorTenantId, actor, { action: "EraseTenant", subject: `tenants/${name}` });
  });
  return { state: "erasing", erasedRows: 0, waitingFor: "calls that are under way" };
}

type ErasureRow = { rows_erased: bigint; waiting_for: string; finished_at: Date | null };

const toErasure = (row: ErasureRow): Erasure => ({
  state: row.finished_at === null ? "erasing" : "erased",
  erasedRows: Number(row.rows_erased),
  waitingFor: row.finished_at === null ? row.waiting_for : "",
});

export type EraseOptions = { readonly budgetMs?: number; readonly graceSeconds?: number; readonly signal?: AbortSignal };

const DEFAULT_BUDGET_MS = 5_000;

/** For the upkeep loop: goes on with every erasure that is not done. Returns how many are left. */
export async function eraseTenants(
  sql: Sql,
  { budgetMs = DEFAULT_BUDGET_MS, graceSeconds = GRACE_SECONDS, signal }: EraseOptions = {},
): Promise<number> {
  const open = await sql<{ tenant: bigint; pipelines: string }[]>`
    select tenant, pipelines::text as pipelines from onedata.erasures where finished_at is null order by asked_at limit 100`;
  let left = 0;
  for (const { tenant, pipelines } of open) {
    const pace: ErasePace = { endMs: performance.now() + budgetMs, ...(signal === undefined ? {} : { signal }) };
    if (!(await eraseSome(sql, toTenantId(tenant), { pipelines, pace, graceSeconds }))) left += 1;
  }
  return left;
}

async function eraseSome(
  sql: Sql,
  tenantId: TenantId,
  { pipelines, pace, graceSeconds }: { readonly pipelines: string; readonly pace: ErasePace; readonly graceSeconds: number },
): Promise<boolean> {
  const waitingFor = await findObstacle(sql, tenantId, graceSeconds);
  let rows = 0;
  const count = async (erased: number): Promise<void> => {
    rows += erased;
    if (erased > 0) await sql`update onedata.erasures set rows_erased = rows_erased + ${erased} where tenant = ${tenantId}`;
  };
  // The queue goes first: what is in no queue is completed by nobody.
  await eraseBatches(sql, tenantId, { pipelines, pace, count });
  const isWhole = await eraseRows(sql, tenantId, { pipelines, pace, count });
  if (!isWhole || rows > 0 || waitingFor !== "") {
    await sql`update onedata.erasures set waiting_for = ${waitingFor === "" ? "its rows, which go in small steps" : waitingFor} where tenant = ${tenantId}`;
    return false;
  }
  const [files] = await sql<{ waits: boolean }[]>`
    update onedata.erasures set files_due_at = coalesce(files_due_at, clock_timestamp()),
           waiting_for = case when awaits_files and files_removed_at is null then ${FILES_WAIT} else '' end
     where tenant = ${tenantId} returning awaits_files and files_removed_at is null as waits`;
  if (files?.waits === true) return false;
  await sql.begin(async (tx) => {
    await tx`delete from onedata.principals where tenant_id = ${tenantId}`;
    await tx`delete from onedata.tenants where id = ${tenantId}`;
    const [done] = await tx<{ name: string; asked_by: string; asked_by_tenant: bigint; rows_erased: bigint }[]>`
      update onedata.erasures set finished_at = clock_timestamp(), waiting_for = '', pipelines = '{}' where tenant = ${tenantId}
      returning name, asked_by, asked_by_tenant, rows_erased`;
    if (done !== undefined)
      await recordChange(
        tx,
        toTenantId(done.asked_by_tenant),
        { name: done.asked_by },
        {
          action: "EraseTenantDone",
          subject: `tenants/${done.name}`,
          detail: { rows: Number(done.rows_erased) },
        },
      );
  });
  return true;
}

/** What keeps a pass from being the last one, in a few words; empty = nothing. */
async function findObstacle(sql: Sql, tenantId: TenantId, graceSeconds: number): Promise<string> {
  const [row] = await sql<{ young: boolean; writer: boolean; moving: boolean }[]>`
    select e.asked_at > clock_timestamp() - make_interval(secs => ${graceSeconds}) as young,
           exists (select from pg_stat_activity a where a.datname = current_database() and a.pid <> pg_backend_pid() and a.backend_xid is not null
                      and a.xact_start < e.asked_at + make_interval(secs => ${graceSeconds})) as writer,
           onedata.old_rows_are_moving() as moving
      from onedata.erasures e where e.tenant = ${tenantId}`;
  if (row?.young === true) return "calls that are under way";
  if (row?.writer === true) return "a transaction of an application that began before it was asked for";
  return row?.moving === true ? "the drop of old days, which is under way" : "";
}
