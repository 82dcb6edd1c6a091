import { connect, openStore } from "@onedata/store";
import { createTestTenant, openTestDatabase } from "@onedata/store/testing";
import { expect, it } from "vitest";
import { createRetentionRound } from "./retention-loop.ts";

const HOUR_MS = 3_600_000;

it("raises an alarm for days that cannot go, at once and then hourly, tells operators once and once more when they have gone", async () => {
  await using database = await openTestDatabase();
  await using store = openStore(database.url);
  const alarms: unknown[] = [];
  const [operator, other] = [await createTestTenant(store.sql), await createTestTenant(store.sql)];
  await store.sql`insert into onedata.principals (tenant_id, kind, subject, scopes) values (${operator}, 'client', 'op', '{admin}'), (${other}, 'client', 'other', '{"events:read"}')`;
  const notices = () => store.sql`select tenant_id, topic, detail->>'detail' as detail from onedata.notifications order by id`;
  let now = new Date();
  const round = createRetentionRound({
    store,
    max: { eventsDays: 7, deadLettersDays: 30 },
    log: { warn: (message, { detail }) => void alarms.push(`${message}: ${String(detail)}`) },
    now: () => now,
  });
  const signal = new AbortController().signal;
  expect(await round(signal)).toBe(60_000);

  await store.sql`
    select onedata.make_partition(t, 'old', case t when 'batches' then 'id' else 'batch_id' end, onedata.id_at(now() - interval '20 days'), onedata.id_at(now() - interval '19 days'))
      from unnest(array['batches', 'events', 'batch_refs', 'runs', 'outputs']) t`;
  await store.sql`insert into onedata.queue (batch_id, seq, lane_id, n, bytes) values (onedata.id_at(now() - interval '20 days'), 1, 1, 1, 1)`;
  const application = connect(database.url, { max: 1, applicationName: "billing" });
  try {
    await application.unsafe("begin");
    await application`select 1 from onedata.events limit 1`;
    await expect
      .poll(
        () =>
          store.sql`select 1 from pg_stat_activity where application_name = 'billing' and xact_start < clock_timestamp() - interval '1.2 seconds'`,
        { timeout: 10_000 },
      )
      .toHaveLength(1);
    expect(await round(signal)).toBe(2_000);
    expect(await round(signal)).toBe(2_000);
    expect(alarms).toEqual([expect.stringMatching(/^retention\.alarm: .*1 day of events/)]);
    now = new Date(now.getTime() + HOUR_MS + 1);
    await round(signal);
    expect(alarms).toHaveLength(2);
    // Two processes and any number of rounds tell it once, and the operator only.
    await createRetentionRound({ store, max: { eventsDays: 7, deadLettersDays: 30 }, log: { warn: () => undefined }, now: () => now })(signal);
    expect(await notices()).toEqual([{ tenant_id: operator, topic: "retention.blocked", detail: expect.stringMatching(/1 day of events/) }]);
  } finally {
    await application.end({ timeout: 1 });
  }
  await expect.poll(() => round(signal)).toBe(60_000);
  now = new Date(now.getTime() + HOUR_MS + 1);
  await round(signal);
  expect(alarms).toHaveLength(2);
  expect((await notices()).map(({ topic }) => topic)).toEqual(["retention.blocked", "retention.unblocked"]);
});
