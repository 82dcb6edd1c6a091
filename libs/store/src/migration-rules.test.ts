import { describe, expect, it } from "vitest";
import { readMigrations } from "./migrate.ts";
import { findBreaches } from "./migration-rules.ts";
import { releaseOf, SCHEMA_RELEASE } from "./schema-release.ts";

const NEXT = 9000;
const rulesOf = (sql: string): string[] => findBreaches({ number: NEXT, sql }).map(({ rule }) => rule);

describe("the rule of migrations", () => {
  it("is kept by every migration after the first release", () => {
    const migrations = readMigrations();
    const breaches = migrations.flatMap((migration, i) =>
      releaseOf(migration.number) === 1
        ? []
        : findBreaches(migration, migrations.slice(0, i)).map(
            ({ statement, rule, instead }) => `${migration.name}: ${rule}: ${statement}\n    instead: ${instead}`,
          ),
    );
    expect(breaches).toEqual([]);
  });

  it.each([
    ["drop table onedata.runs", "drops"],
    ["alter table onedata.queue drop column version", "drops a column"],
    ["alter table onedata.queue add column x int, drop version", "drops a column"],
    ["alter table onedata.lanes drop constraint lanes_pipeline_id_class_shard_key", "drops a constraint that `on conflict` may name"],
    ["alter table onedata.queue alter column n drop default", "drops a default"],
    ["alter table onedata.queue rename column n to events", "renames"],
    ["alter table onedata.queue rename to work", "renames"],
    ["alter table onedata.queue alter column n type bigint", "changes a type"],
    ["alter table onedata.queue alter n set data type bigint", "changes a type"],
    ["alter table onedata.queue alter version set not null", "forbids null"],
    ["alter table onedata.queue add column x int not null", "adds a column that older statements do not fill"],
    ["alter table onedata.tenants add column a text default 'x', add column b int not null", "adds a column that older statements do not fill"],
    ["truncate onedata.findings", "empties a table"],
    [
      "alter table onedata.tenants add column made timestamptz default clock_timestamp()",
      "adds a column whose default differs by row, so that the table is rewritten",
    ],
    ["create index on onedata.queue (version)", "builds an index while writers wait"],
    ["create unique index if not exists x on onedata.dead_letters (n)", "builds an index while writers wait"],
    ["alter table onedata.queue add constraint positive check (n > 0)", "checks every row while writers wait"],
    ["update onedata.queue set n = 1", "writes many rows at once"],
    ["lock table onedata.queue", "stops everybody"],
    ["do $$ begin alter table onedata.queue drop column n; end $$", "drops a column"],
  ])("refuses: %s", (sql, rule) => {
    expect(rulesOf(sql)).toEqual([rule]);
  });

  it.each([
    "alter table onedata.queue add column x int",
    "alter table onedata.queue add column x int not null default 0, add column y text",
    "alter table onedata.queue add column x boolean default false not null",
    "create table onedata.new (id bigint primary key, at timestamptz not null default clock_timestamp()); create index on onedata.new (at); drop table onedata.new;",
    "create function onedata.f() returns void language plpgsql as $$ begin delete from onedata.queue; drop table x; end $$",
    "create or replace function onedata.next_id() returns bigint language sql as $body$ select 1 $body$",
    "alter table onedata.jobs drop constraint jobs_kind_check; alter table onedata.jobs add constraint jobs_kind_check check (kind <> '')",
    "alter table onedata.queue add constraint positive check (n > 0) not valid",
    "create index concurrently if not exists x on onedata.queue (version)",
    "insert into onedata.detectors values ('drop table; rename -- it''s')",
    "-- drop table onedata.queue\nselect 1 /* rename */",
  ])("lets pass: %s", (sql) => {
    expect(rulesOf(sql)).toEqual([]);
  });

  it("takes a reason: which release last used what goes, or why a lock is short", () => {
    const drop = "alter table onedata.queue drop column version";
    expect(rulesOf(`-- contracts release ${SCHEMA_RELEASE - 2}: nobody reads it\n${drop}`)).toEqual([]);
    expect(rulesOf(`-- contracts release ${SCHEMA_RELEASE - 1}: the release before still reads it\n${drop}`)).toEqual(["drops a column"]);
    expect(rulesOf(`-- contracts release ${SCHEMA_RELEASE - 2}:\n${drop}`)).toEqual(["drops a column"]);
    expect(rulesOf("-- locks: at most a few thousand rows\ncreate index on onedata.queue (version)")).toEqual([]);
  });
});
