/** The server itself: what makes a queue of Postgres rot slowly, and what stops it at once. */
import { statfs } from "node:fs/promises";
import { archiveStatus } from "../backup/archive-status.ts";
import type { Transaction } from "../connection.ts";
import { readMigrations } from "../migrate.ts";
import { type Check, judge, type LookOptions, MOST, type Seen } from "./check.ts";

const GIB = 1024 ** 3;
/** So many times the threshold is no warning any more. */
const FAILED_AT = 10;

export const databaseChecks: readonly Check[] = [
  {
    name: "database.schema",
    advice: "start a control process of the newest release: it migrates; processes of one release before go on meanwhile",
    async look(tx) {
      const known = readMigrations();
      const applied = await tx<{ number: number; name: string }[]>`select number, name from onedata.migrations order by number`;
      const numbers = new Set(applied.map(({ number }) => number));
      const missing = known.filter(({ number }) => !numbers.has(number)).map(({ name }) => name);
      const newer = applied.filter(({ number }) => !known.some((one) => one.number === number)).map(({ name }) => name);
      if (missing.length > 0)
        return { state: "failed", count: missing.length, detail: `${missing.length} migrations are not applied`, examples: missing.slice(0, 5) };
      if (newer.length > 0)
        return {
          state: "warning",
          count: newer.length,
          detail: `the database is ${newer.length} migrations newer than this process`,
          examples: newer.slice(0, 5),
        };
      return { state: "ok", count: 0, detail: `schema ${applied.at(-1)?.number ?? 0}` };
    },
  },
  {
    name: "database.partitions",
    advice:
      "control's upkeep makes them three days ahead: is a control process running, and may its role create tables? `select onedata.ensure_partitions(3)` makes them now",
    async look(tx) {
      const rows = await tx<{ example: string }[]>`
        with day as (select (clock_timestamp() at time zone 'UTC')::date + d as day from generate_series(0, 1) d), wanted as (
          select parent, onedata.id_at(day.day::timestamp at time zone 'UTC') as lower, parent || '_p' || to_char(day.day, 'YYYYMMDD') as name
            from day, unnest(array['batches', 'events', 'batch_refs', 'runs', 'outputs']) parent
          union all
          select 'dead_letters', onedata.id_at(date_trunc('month', day.day::timestamp) at time zone 'UTC'), 'dead_letters_p' || to_char(day.day, 'YYYYMM') from day
        )
        select distinct w.name as example from wanted w
         where not exists (select from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = ('onedata.' || w.parent)::regclass and c.relname = w.name)
         order by 1 limit ${MOST}`;
      return judge(rows, {
        state: "failed",
        ok: "partitions for today and tomorrow are there",
        bad: (count) => `${count} partitions for today or tomorrow are missing`,
      });
    },
  },
  {
    name: "database.old_transactions",
    advice:
      "end them (select pg_terminate_backend(pid)), and set idle_in_transaction_session_timeout for applications: until they end, dead rows of the queue stay",
    async look(tx, { thresholds }) {
      const rows = await tx<{ example: string; age_s: number; what: string }[]>`
        select 'pid ' || pid as example, extract(epoch from clock_timestamp() - xact_start)::int as age_s, application_name || ', ' || state as what from pg_stat_activity
         where pid <> pg_backend_pid() and backend_type = 'client backend' and datname = current_database() and xact_start < clock_timestamp() - make_interval(secs => ${thresholds.oldTransactionMs}::float8 / 1000) and (backend_xid is not null or backend_xmin is not null or state like 'idle in transaction%')
        union all
        select 'prepared ' || gid, extract(epoch from clock_timestamp() - prepared)::int, 'prepared transaction' from pg_prepared_xacts where database = current_database() and prepared < clock_timestamp() - make_interval(secs => ${thresholds.oldTransactionMs}::float8 / 1000)
         order by 2 desc limit ${MOST}`;
      return judge(rows, {
        state: "warning",
        ok: "no transaction is older than five minutes",
        bad: (count) =>
          `${count} transactions are older than five minutes, the oldest ${Math.round((rows[0]?.age_s ?? 0) / 60)} minutes (${rows[0]?.what})`,
      });
    },
  },
  {
    name: "database.queue_bloat",
    advice: "look at database.old_transactions and at the replication slots first; when they are gone, `vacuum onedata.queue` at a quiet moment",
    async look(tx, { thresholds }) {
      const [row] = await tx<{ dead: number; bytes: number; live: number }[]>`
        select coalesce(n_dead_tup, 0)::float8 as dead, coalesce(n_live_tup, 0)::float8 as live, pg_relation_size('onedata.queue')::float8 as bytes
          from pg_stat_user_tables where relid = 'onedata.queue'::regclass`;
      const { dead = 0, live = 0, bytes = 0 } = row ?? {};
      const detail = `the queue has ${Math.round(live)} rows, ${Math.round(dead)} dead ones, and ${toMegabytes(bytes)}`;
      return dead > thresholds.deadQueueRows && dead > live ? { state: "warning", count: 1, detail } : { state: "ok", count: 0, detail };
    },
  },
  {
    name: "database.xid_age",
    advice: "let autovacuum freeze: end old transactions and slots, raise autovacuum_max_workers; at two thousand million the server stops writing",
    async look(tx, { thresholds }) {
      const [row] = await tx<{ age: number }[]>`select age(datfrozenxid)::float8 as age from pg_database where datname = current_database()`;
      const age = row?.age ?? 0;
      const detail = `the oldest row is ${(age / 1e6).toFixed(0)} million transactions old`;
      const state = age > 1_500_000_000 ? "failed" : age > thresholds.transactionAge ? "warning" : "ok";
      return { state, count: state === "ok" ? 0 : 1, detail };
    },
  },
  {
    name: "database.replication_slots",
    advice: "drop slots that nobody reads (select pg_drop_replication_slot(name)), or mend their reader: WAL is kept for them until the disk is full",
    async look(tx, { thresholds }) {
      const rows = await tx<{ example: string; held: number; lost: boolean }[]>`
        select slot_name as example, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::float8 as held, coalesce(wal_status = 'lost', false) as lost from pg_replication_slots
         where not pg_is_in_recovery() and (wal_status = 'lost' or pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) > ${thresholds.heldWalBytes})
         order by 2 desc limit ${MOST}`;
      return judge(rows, {
        state: rows.some(({ lost, held }) => lost || held > FAILED_AT * thresholds.heldWalBytes) ? "failed" : "warning",
        ok: "no replication slot holds much WAL",
        bad: (count) => `${count} replication slots hold WAL or have lost it, the first ${toMegabytes(rows[0]?.held ?? 0)}`,
      });
    },
  },
  {
    name: "database.backup",
    advice: "run `onedata backup <folder>` with a folder on another disk, before there is data that you would miss",
    async look(tx) {
      const { state } = await archiveStatus(tx);
      if (state === "unknown") return { state: "ok", count: 0, detail: "this server's backups are somebody else's: nothing is seen of them here" };
      if (state !== "off") return { state: "ok", count: 0, detail: "there is a backup" };
      // Whoever only tries OneData out has nothing to lose yet.
      const [row] = await tx<{ new: boolean }[]>`select coalesce(min(created_at) > now() - interval '1 day', true) as new from onedata.tenants`;
      return row?.new === true
        ? { state: "ok", count: 0, detail: "there is no backup yet; a day after the first start that is a warning" }
        : { state: "warning", count: 1, detail: "there is no backup: a lost disk loses everything" };
    },
  },
  {
    name: "database.archiver",
    advice:
      "mount the backup folder, make room there, or stop it (onedata backup stop): until then WAL fills the database's disk, and a restore ends where it stopped",
    async look(tx) {
      const { state, problem, folder, lastArchivedAt } = await archiveStatus(tx);
      if (state === "failing") return { state: "failed", count: 1, detail: problem ?? "the archive fails" };
      if (state !== "ok") return { state: "ok", count: 0, detail: problem ?? "WAL is not archived: restores reach back to the last base copy only" };
      return {
        state: "ok",
        count: 0,
        detail: `WAL is archived${folder === undefined ? "" : ` in ${folder}`}, last at ${lastArchivedAt?.toISOString() ?? "no time yet"}`,
      };
    },
  },
  {
    name: "database.disk",
    advice: "make room, or shorten retention (onedata tenant retention): a full disk stops every write",
    look: lookAtDisk,
  },
  {
    name: "clock.skew",
    advice: "let both machines keep time (chrony, systemd-timesyncd): ids carry the database's time, tokens and webhooks this process's",
    async look(tx, { now, thresholds }) {
      const before = now();
      const [row] = await tx<{ now: number }[]>`select extract(epoch from clock_timestamp())::float8 * 1000 as now`;
      const after = now();
      const skewMs = Math.round((row?.now ?? before) - (before + after) / 2);
      const size = Math.abs(skewMs) - (after - before) / 2;
      const state = size > 30 * thresholds.clockSkewMs ? "failed" : size > thresholds.clockSkewMs ? "warning" : "ok";
      return {
        state,
        count: state === "ok" ? 0 : 1,
        detail: `the database's clock is ${Math.abs(skewMs)} ms ${skewMs < 0 ? "behind" : "ahead of"} this process's`,
      };
    },
  },
];

/** The size always; the free space only where the server's folder is on this machine and its role may say where. */
async function lookAtDisk(tx: Transaction, { thresholds }: LookOptions): Promise<Seen> {
  const [row] = await tx<{ bytes: number; folder: string | null; local: boolean }[]>`
    select pg_database_size(current_database())::float8 as bytes,
           case when pg_has_role('pg_read_all_settings', 'usage') then current_setting('data_directory', true) end as folder,
           coalesce(inet_server_addr() <<= '127.0.0.0/8' or inet_server_addr() = '::1', true) as local`;
  const size = `the database has ${toMegabytes(row?.bytes ?? 0)}`;
  const disk = row?.local === true && row.folder !== null ? await statfs(row.folder).catch(() => undefined) : undefined;
  if (disk === undefined) return { state: "ok", count: 0, detail: `${size}; the free space of its disk cannot be seen from here` };
  const free = disk.bavail * disk.bsize;
  const share = free / Math.max(disk.blocks * disk.bsize, 1);
  const state =
    free < thresholds.freeDiskBytes / FAILED_AT || share < 0.01 ? "failed" : free < thresholds.freeDiskBytes || share < 0.05 ? "warning" : "ok";
  return { state, count: state === "ok" ? 0 : 1, detail: `${size}, and ${toMegabytes(free)} of its disk are free (${Math.round(share * 100)} %)` };
}

const toMegabytes = (bytes: number): string => (bytes >= 10 * GIB ? `${(bytes / GIB).toFixed(0)} GiB` : `${(bytes / 1024 ** 2).toFixed(0)} MiB`);
