/**
 * Dead letters that are `replaying` for a job that has ended, or is gone. The steps of a job leave none; a hand in the database, or a restored backup, may.
 * They are told by what became of their replay: `replayed` when it has a verdict, else `open` again.
 */
import type { Sql } from "../connection.ts";

const LETTERS_PER_CALL = 1_000;

/** For the runner, over all tenants. Returns how many letters it settled. */
export async function settleStrandedLetters(sql: Sql): Promise<number> {
  const result = await sql`
    with stranded as materialized (
      select d.id, d.tenant_id, d.job_id, coalesce(r.src_batch_id, d.batch_id) as src_batch_id, coalesce(r.src_n, d.n) as src_n
        from onedata.dead_letters d left join onedata.batch_refs r on r.batch_id = d.batch_id and r.n = d.n
       where d.state = 'replaying' and not exists (select from onedata.jobs j where j.id = d.job_id and j.tenant_id = d.tenant_id and j.finished_at is null)
       limit ${LETTERS_PER_CALL}
    ), judged as (
      select s.id, s.tenant_id, s.job_id, exists (
               select from onedata.batch_refs c
                 join onedata.batches b on b.id = c.batch_id and b.job_id = s.job_id and b.tenant_id = s.tenant_id
                 join onedata.runs u on u.batch_id = c.batch_id and length(u.verdicts) > c.n and get_byte(u.verdicts, c.n) <> 0
                where c.src_batch_id = s.src_batch_id and c.src_n = s.src_n) as is_final
        from stranded s
    )
    update onedata.dead_letters d set state = case when j.is_final then 'replayed' else 'open' end, job_id = case when j.is_final then d.job_id end
      from judged j where d.id = j.id and d.tenant_id = j.tenant_id and d.state = 'replaying'`;
  return result.count;
}
