/**
 * Which groups of dead letters are new, or ten times as large as when that was last told: 1, 10, 100, 1,000, ...
 *
 * Invariants:
 * 1. One process at a time, by the detector's row; what was counted and what was told is one transaction, and a short one: all groups are counted by one statement.
 * 2. A round reads the letters since the round before, and of each known group at most `LOOK_BACK` others: never the whole group.
 * 3. A group none of whose letters is open any more is new when it comes again.
 * 4. A pipeline that makes ever new causes tells of `MAX_CAUSES` in an hour, then once that there are more.
 */
import { formatEventId, type PipelineId, type TenantId, toBatchId, toldShapeOf, toPipelineId, toTenantId } from "@onedata/core";
import type { Sql, Transaction } from "./connection.ts";
import { notify } from "./notifications.ts";

/** Letters that are younger may stand in transactions that have not committed. */
const SETTLE_MS = 2_000;
const ROWS_PER_ROUND = 100_000;
const LOOK_BACK = 1_000;
const MAX_CAUSES = 20;

export type GrowthDetection = { readonly settleMs?: number };

/** Returns how many notices it wrote. */
export async function detectGrowth(sql: Sql, { settleMs = SETTLE_MS }: GrowthDetection = {}): Promise<number> {
  return sql.begin(async (tx) => {
    const [from] = await tx<{ position: bigint }[]>`select position from onedata.detectors where name = 'dead_letters' for update skip locked`;
    if (from === undefined) return 0;
    const grown = await countNew(tx, from.position, settleMs);
    let told = 0;
    for (const groups of byPipeline(grown)) told += await tellPipeline(tx, groups);
    return told;
  });
}

/** `told_before` 0: a new cause. */
type Grown = { pipeline_id: bigint; fingerprint: string; seen: bigint; step: bigint; told_before: bigint; first_id: bigint; last_id: bigint };

/** Counts, keeps, moves the detector on; returns the groups that reached a step, the largest of each pipeline first. */
const countNew = (tx: Transaction, position: bigint, settleMs: number) => tx<Grown[]>`
  with letter as materialized (
    select pipeline_id, tenant_id, fingerprint, id from onedata.dead_letters
     where id > ${position} and id < onedata.id_at(clock_timestamp() - make_interval(secs => ${settleMs}::float8 / 1000)) order by id limit ${ROWS_PER_ROUND}
  ), fresh as materialized (
    select pipeline_id, min(tenant_id) as tenant_id, fingerprint, count(*) as n, min(id) as first_id, max(id) as last_id from letter group by pipeline_id, fingerprint
  ), known as materialized (
    select f.*, g.first_id as old_first, g.seen as old_seen, g.told as old_told,
           case when g.pipeline_id is null then false else exists (
             select from (select state from onedata.dead_letters d where d.pipeline_id = f.pipeline_id and d.fingerprint = f.fingerprint and d.id < f.first_id and d.id >= g.first_id
                           order by d.id desc limit ${LOOK_BACK}) l where l.state in ('open', 'replaying')) end as goes_on
      from fresh f left join onedata.dead_letter_growth g on g.pipeline_id = f.pipeline_id and g.fingerprint = f.fingerprint
  ), counted as materialized (
    select pipeline_id, tenant_id, fingerprint, last_id, case when goes_on then old_first else first_id end as first_id,
           n + case when goes_on then old_seen else 0 end as seen, case when goes_on then old_told else 0 end as told_before
      from known
  ), stepped as materialized (
    select *, (10::numeric ^ (length(seen::text) - 1))::bigint as step from counted
  ), kept as (
    insert into onedata.dead_letter_growth as g (pipeline_id, fingerprint, tenant_id, first_id, seen, told)
    select pipeline_id, fingerprint, tenant_id, first_id, seen, step from stepped order by pipeline_id, fingerprint
    on conflict (pipeline_id, fingerprint) do update set first_id = excluded.first_id, seen = excluded.seen, told = excluded.told, updated_at = clock_timestamp()
  ), moved as (
    update onedata.detectors set position = (select max(id) from letter), updated_at = clock_timestamp() where name = 'dead_letters' and exists (select from letter)
  )
  select pipeline_id, fingerprint, seen, step, told_before, first_id, last_id from stepped where step > told_before order by pipeline_id, seen desc, fingerprint`;

function byPipeline(grown: readonly Grown[]): readonly (readonly Grown[])[] {
  const pipelines = new Map<bigint, Grown[]>();
  for (const group of grown) {
    const same = pipelines.get(group.pipeline_id);
    if (same === undefined) pipelines.set(group.pipeline_id, [group]);
    else same.push(group);
  }
  return [...pipelines.values()];
}

async function tellPipeline(tx: Transaction, groups: readonly Grown[]): Promise<number> {
  const [first] = groups;
  const [found] = await tx<{ tenant_id: bigint; name: string; causes: number }[]>`
    select p.tenant_id, p.name,
           (select count(*)::int from onedata.dead_letter_growth g where g.pipeline_id = p.id and g.first_id > onedata.id_at(clock_timestamp() - interval '1 hour')) as causes
      from onedata.pipelines p where p.id = ${first?.pipeline_id ?? 0n}`;
  // Removed meanwhile.
  if (found === undefined || first === undefined) return 0;
  const what = { tenantId: toTenantId(found.tenant_id), pipelineId: toPipelineId(first.pipeline_id), subject: `pipelines/${found.name}` };
  const isNew = ({ told_before }: Grown): boolean => told_before === 0n;
  const causesBefore = found.causes - groups.filter(isNew).length;
  const fresh = groups.filter(isNew).slice(0, Math.max(0, MAX_CAUSES - causesBefore));
  const larger = groups.filter((group) => !isNew(group)).slice(0, MAX_CAUSES);
  const chosen = [...fresh, ...larger];
  const letters = await readLetters(
    tx,
    chosen.map(({ last_id }) => last_id),
  );
  let told = 0;
  for (const group of chosen) told += Number(await tellGroup(tx, what, group, letters.get(group.last_id)));
  if (fresh.length + larger.length === groups.length) return told;
  const hour = new Date().toISOString().slice(0, 13);
  return told + Number(await notify(tx, { ...what, episode: `causes ${hour}`, topic: "dead_letters.grew", detail: { causes: found.causes } }));
}

type What = { readonly tenantId: TenantId; readonly pipelineId: PipelineId; readonly subject: string };

/** By id, in one look: however it is planned, it reads the letters once. */
async function readLetters(tx: Transaction, ids: readonly bigint[]): Promise<ReadonlyMap<bigint, LetterRecord>> {
  const rows = await tx<LetterRecord[]>`
    select d.id, d.batch_id, d.n, d.version, d.step, d.sink, d.code, d.message, r.src_batch_id, r.src_n
      from onedata.dead_letters d left join onedata.batch_refs r on r.batch_id = d.batch_id and r.n = d.n where d.id = any(${`{${ids.join(",")}}`}::bigint[])`;
  return new Map(rows.map((row) => [row.id, row]));
}

async function tellGroup(
  tx: Transaction,
  what: What,
  { fingerprint, seen, step, first_id }: Grown,
  letter: LetterRecord | undefined,
): Promise<boolean> {
  if (letter === undefined) return false;
  return notify(tx, {
    ...what,
    episode: `${fingerprint} ${first_id} ${step}`,
    topic: "dead_letters.grew",
    detail: {
      count: Number(seen),
      fingerprint,
      code: letter.code,
      step: letter.step ?? "",
      ...(letter.sink === null ? {} : { sink: letter.sink }),
      message: toldShapeOf(letter.message),
      ...(letter.version === null ? {} : { version: letter.version }),
      example: formatEventId({ batchId: toBatchId(letter.src_batch_id ?? letter.batch_id), n: letter.src_n ?? letter.n }),
    },
  });
}

type LetterRecord = {
  id: bigint;
  batch_id: bigint;
  n: number;
  src_batch_id: bigint | null;
  src_n: number | null;
  version: number | null;
  step: string | null;
  sink: string | null;
  code: string;
  message: string;
};
