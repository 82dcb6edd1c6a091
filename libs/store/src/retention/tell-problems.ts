/**
 * Tells the operators that old data cannot be dropped, once, and once more when it can: `retention.blocked`, `retention.unblocked`.
 * Operators are the tenants that have a principal with the scope `admin`; others are told nothing of the whole installation.
 * Invariant: one process tells, by the detector's row, which stands for as long as something is wrong; what is told and that it was told is one transaction.
 */
import { toTenantId } from "@onedata/core";
import type { Sql, Transaction } from "../connection.ts";
import { type NoticeDetail, notify } from "../notifications.ts";
import type { RetentionProblem } from "./problems.ts";

type RetentionDetail = Extract<NoticeDetail, { topic: "retention.blocked" | "retention.unblocked" }>;

/** Returns how many notices it wrote. */
export async function tellRetention(
  sql: Sql,
  { problems, now }: { readonly problems: readonly RetentionProblem[]; readonly now: Date },
): Promise<number> {
  const detail = problems.map((problem) => problem.detail).join("; ");
  return sql.begin(async (tx) => {
    if (problems.length > 0) {
      const [begun] = await tx<{ since: bigint }[]>`
        insert into onedata.detectors (name, position) values ('retention', ${BigInt(now.getTime())}) on conflict (name) do nothing returning position as since`;
      return begun === undefined ? 0 : tellOperators(tx, begun.since, { topic: "retention.blocked", detail: { since: now.toISOString(), detail } });
    }
    const [ended] = await tx<{ since: bigint }[]>`delete from onedata.detectors where name = 'retention' returning position as since`;
    if (ended === undefined) return 0;
    const since = new Date(Number(ended.since)).toISOString();
    return tellOperators(tx, ended.since, { topic: "retention.unblocked", detail: { since, until: now.toISOString() } });
  });
}

async function tellOperators(tx: Transaction, since: bigint, notice: RetentionDetail): Promise<number> {
  const operators = await tx<{ id: bigint }[]>`
    select distinct t.id from onedata.principals p join onedata.tenants t on t.id = p.tenant_id and t.state = 'active'
     where p.revoked_at is null and 'admin' = any(p.scopes) order by t.id`;
  let told = 0;
  for (const { id } of operators)
    told += Number(await notify(tx, { ...notice, tenantId: toTenantId(id), subject: "retention", episode: String(since) }));
  return told;
}
