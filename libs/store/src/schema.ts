/**
 * The control-plane tables as Drizzle sees them. The migrations are the truth; a test holds this file against the migrated database.
 * Non-duty: the hot path's tables, which hand-written SQL alone touches; indexes and constraints beyond primary keys.
 */
import { sql } from "drizzle-orm";
import {
  bigint,
  boolean,
  customType,
  doublePrecision,
  integer,
  json,
  jsonb,
  pgSchema,
  primaryKey,
  real,
  smallint,
  text,
  timestamp,
  uuid,
} from "drizzle-orm/pg-core";

const onedata = pgSchema("onedata");
const bytea = customType<{ data: Buffer }>({ dataType: () => "bytea" });

export const tenants = onedata.table("tenants", {
  id: bigint("id", { mode: "bigint" }).notNull().generatedByDefaultAsIdentity().primaryKey(),
  name: text("name").notNull(),
  limits: jsonb("limits").notNull().default(sql`'{}'::jsonb`),
  createdAt: timestamp("created_at", { withTimezone: true }).notNull().defaultNow(),
  retention: jsonb("retention").notNull().default(sql`'{}'::jsonb`),
  state: text("state").notNull().default(sql`'active'::text`),
});

export const principals = onedata.table("principals", {
  id: bigint("id", { mode: "bigint" }).notNull().generatedByDefaultAsIdentity().primaryKey(),
  tenantId: bigint("tenant_id", { mode: "bigint" }).notNull(),
  kind: text("kind").notNull(),
  subject: text("subject").notNull(),
  name: text("name").notNull().default(sql`''::text`),
  scopes: text("scopes").array().notNull().default(sql`'{}'::text[]`),
  secretHash: text("secret_hash"),
  createdAt: timestamp("created_at", { withTimezone: true }).notNull().defaultNow(),
  revokedAt: timestamp("revoked_at", { withTimezone: true }),
});

export const pipelines = onedata.table("pipelines", {
  id: bigint("id", { mode: "bigint" }).notNull().generatedByDefaultAsIdentity().primaryKey(),
  tenantId: bigint("tenant_id", { mode: "bigint" }).notNull(),
  name: text("name").notNull(),
  state: text("state").notNull().default(sql`'running'::text`),
  reason: text("reason"),
  stateChangedBy: text("state_changed_by"),
  stateChangedAt: timestamp("state_changed_at", { withTimezone: true }).notNull().defaultNow(),
  activeVersion: integer("active_version"),
  ordering: text("ordering"),
  generation: integer("generation").notNull().default(sql`0`),
  createdAt: timestamp("created_at", { withTimezone: true }).notNull().defaultNow(),
});

export const pipelineVersions = onedata.table(
  "pipeline_versions",
  {
    pipelineId: bigint("pipeline_id", { mode: "bigint" }).notNull(),
    version: integer("version").notNull(),
    hash: text("hash").notNull(),
    spec: text("spec").notNull(),
    specMediaType: text("spec_media_type").notNull().default(sql`'application/json'::text`),
    plan: json("plan").notNull(),
    route: text("route").notNull().default(sql`''::text`),
    createdBy: text("created_by"),
    createdAt: timestamp("created_at", { withTimezone: true }).notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.pipelineId, table.version] })],
);

export const lanes = onedata.table("lanes", {
  id: bigint("id", { mode: "bigint" }).notNull().generatedByDefaultAsIdentity().primaryKey(),
  tenantId: bigint("tenant_id", { mode: "bigint" }).notNull(),
  pipelineId: bigint("pipeline_id", { mode: "bigint" }).notNull(),
  class: text("class").notNull(),
  shard: smallint("shard").notNull(),
  ordered: boolean("ordered").notNull(),
  route: text("route").notNull().default(sql`''::text`),
  weight: real("weight").notNull().default(sql`1`),
  runId: uuid("run_id"),
  claims: integer("claims").notNull().default(sql`0`),
  blockedUntil: timestamp("blocked_until", { withTimezone: true }),
  blockReason: text("block_reason"),
  blockFailures: integer("block_failures").notNull().default(sql`0`),
  lowSeq: bigint("low_seq", { mode: "bigint" }).notNull().default(sql`0`),
  blockSince: timestamp("block_since", { withTimezone: true }),
  parked: boolean("parked").notNull().default(sql`false`),
});

export const imports = onedata.table("imports", {
  id: bigint("id", { mode: "bigint" }).notNull().default(sql`onedata.next_id()`).primaryKey(),
  tenantId: bigint("tenant_id", { mode: "bigint" }).notNull(),
  pipelineId: bigint("pipeline_id", { mode: "bigint" }).notNull(),
  idempotencyKey: text("idempotency_key"),
  name: text("name").notNull().default(sql`''::text`),
  mediaType: text("media_type").notNull(),
  format: jsonb("format").notNull().default(sql`'{}'::jsonb`),
  state: text("state").notNull().default(sql`'receiving'::text`),
  reason: text("reason"),
  sourceBytes: bigint("source_bytes", { mode: "bigint" }).notNull().default(sql`0`),
  sourceLines: bigint("source_lines", { mode: "bigint" }).notNull().default(sql`0`),
  prefixHash: text("prefix_hash"),
  accepted: bigint("accepted", { mode: "bigint" }).notNull().default(sql`0`),
  rejected: bigint("rejected", { mode: "bigint" }).notNull().default(sql`0`),
  createdBy: text("created_by"),
  createdAt: timestamp("created_at", { withTimezone: true }).notNull().defaultNow(),
  updatedAt: timestamp("updated_at", { withTimezone: true }).notNull().defaultNow(),
  finishedAt: timestamp("finished_at", { withTimezone: true }),
  stoppedAt: timestamp("stopped_at", { withTimezone: true }),
  stopReason: text("stop_reason"),
});

export const importRejects = onedata.table(
  "import_rejects",
  {
    importId: bigint("import_id", { mode: "bigint" }).notNull(),
    line: bigint("line", { mode: "bigint" }).notNull(),
    byteOffset: bigint("byte_offset", { mode: "bigint" }).notNull().default(sql`0`),
    code: text("code").notNull(),
    message: text("message").notNull(),
    raw: text("raw"),
  },
  (table) => [primaryKey({ columns: [table.importId, table.line] })],
);

export const jobs = onedata.table("jobs", {
  id: bigint("id", { mode: "bigint" }).notNull().default(sql`onedata.next_id()`).primaryKey(),
  tenantId: bigint("tenant_id", { mode: "bigint" }).notNull(),
  pipelineId: bigint("pipeline_id", { mode: "bigint" }).notNull(),
  kind: text("kind").notNull(),
  state: text("state").notNull().default(sql`'preparing'::text`),
  reason: text("reason"),
  spec: jsonb("spec").notNull().default(sql`'{}'::jsonb`),
  version: integer("version"),
  generation: integer("generation").notNull().default(sql`0`),
  total: bigint("total", { mode: "bigint" }).notNull().default(sql`0`),
  queued: bigint("queued", { mode: "bigint" }).notNull().default(sql`0`),
  createdBy: text("created_by"),
  createdAt: timestamp("created_at", { withTimezone: true }).notNull().defaultNow(),
  updatedAt: timestamp("updated_at", { withTimezone: true }).notNull().defaultNow(),
  finishedAt: timestamp("finished_at", { withTimezone: true }),
  description: text("description").notNull().default(sql`''::text`),
  eventsPerSecond: integer("events_per_second").notNull().default(sql`0`),
  position: bigint("position", { mode: "bigint" }).notNull().default(sql`0`),
  listedTo: bigint("listed_to", { mode: "bigint" }).notNull().default(sql`0`),
  listUntil: bigint("list_until", { mode: "bigint" }).notNull().default(sql`0`),
  matching: bigint("matching", { mode: "bigint" }).notNull().default(sql`0`),
  claimed: bigint("claimed", { mode: "bigint" }).notNull().default(sql`0`),
  skipped: bigint("skipped", { mode: "bigint" }).notNull().default(sql`0`),
  allowance: doublePrecision("allowance").notNull().default(sql`0`),
  allowanceAt: timestamp("allowance_at", { withTimezone: true }).notNull().defaultNow(),
  hasItems: boolean("has_items").notNull().default(sql`false`),
});

export const jobItems = onedata.table(
  "job_items",
  {
    jobId: bigint("job_id", { mode: "bigint" }).notNull(),
    position: bigint("position", { mode: "bigint" }).notNull(),
    srcBatchId: bigint("src_batch_id", { mode: "bigint" }).notNull(),
    srcN: integer("src_n").notNull(),
    generation: integer("generation").notNull().default(sql`0`),
    letters: bigint("letters", { mode: "bigint" }).array(),
    payload: text("payload"),
  },
  (table) => [primaryKey({ columns: [table.jobId, table.position] })],
);

export const jobBatches = onedata.table(
  "job_batches",
  {
    jobId: bigint("job_id", { mode: "bigint" }).notNull(),
    batchId: bigint("batch_id", { mode: "bigint" }).notNull(),
    n: integer("n").notNull(),
    positions: bigint("positions", { mode: "bigint" }).array().notNull(),
    settledAt: timestamp("settled_at", { withTimezone: true }),
  },
  (table) => [primaryKey({ columns: [table.jobId, table.batchId] })],
);

export const connections = onedata.table("connections", {
  id: bigint("id", { mode: "bigint" }).notNull().generatedByDefaultAsIdentity().primaryKey(),
  tenantId: bigint("tenant_id", { mode: "bigint" }).notNull(),
  name: text("name").notNull(),
  kind: text("kind").notNull(),
  config: jsonb("config").notNull().default(sql`'{}'::jsonb`),
  secret: bytea("secret"),
  secretKeyId: text("secret_key_id"),
  version: integer("version").notNull().default(sql`1`),
  createdBy: text("created_by"),
  createdAt: timestamp("created_at", { withTimezone: true }).notNull().defaultNow(),
  updatedAt: timestamp("updated_at", { withTimezone: true }).notNull().defaultNow(),
});

export const lookups = onedata.table(
  "lookups",
  {
    tenantId: bigint("tenant_id", { mode: "bigint" }).notNull(),
    name: text("name").notNull(),
    hash: text("hash").notNull(),
    updatedBy: text("updated_by"),
    updatedAt: timestamp("updated_at", { withTimezone: true }).notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.tenantId, table.name] })],
);

export const lookupVersions = onedata.table(
  "lookup_versions",
  {
    tenantId: bigint("tenant_id", { mode: "bigint" }).notNull(),
    name: text("name").notNull(),
    hash: text("hash").notNull(),
    rowCount: integer("row_count").notNull(),
    bytes: bigint("bytes", { mode: "bigint" }).notNull(),
    content: text("content").notNull(),
    createdAt: timestamp("created_at", { withTimezone: true }).notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.tenantId, table.name, table.hash] })],
);

export const sources = onedata.table("sources", {
  id: bigint("id", { mode: "bigint" }).notNull().generatedByDefaultAsIdentity().primaryKey(),
  tenantId: bigint("tenant_id", { mode: "bigint" }).notNull(),
  pipelineId: bigint("pipeline_id", { mode: "bigint" }).notNull(),
  name: text("name").notNull(),
  kind: text("kind").notNull(),
  config: jsonb("config").notNull().default(sql`'{}'::jsonb`),
  connection: text("connection"),
  state: text("state").notNull().default(sql`'running'::text`),
});

export const sourceCursors = onedata.table("source_cursors", {
  sourceId: bigint("source_id", { mode: "bigint" }).notNull().primaryKey(),
  cursor: jsonb("cursor").notNull(),
  owner: uuid("owner"),
  updatedAt: timestamp("updated_at", { withTimezone: true }).notNull().defaultNow(),
});

export const schedules = onedata.table("schedules", {
  id: bigint("id", { mode: "bigint" }).notNull().generatedByDefaultAsIdentity().primaryKey(),
  tenantId: bigint("tenant_id", { mode: "bigint" }).notNull(),
  pipelineId: bigint("pipeline_id", { mode: "bigint" }),
  sourceId: bigint("source_id", { mode: "bigint" }),
  name: text("name").notNull(),
  cron: text("cron").notNull(),
  timeZone: text("time_zone").notNull().default(sql`'UTC'::text`),
  enabled: boolean("enabled").notNull().default(sql`true`),
  nextAt: timestamp("next_at", { withTimezone: true }),
  lastAt: timestamp("last_at", { withTimezone: true }),
});

export const services = onedata.table("services", {
  id: bigint("id", { mode: "bigint" }).notNull().generatedByDefaultAsIdentity().primaryKey(),
  tenantId: bigint("tenant_id", { mode: "bigint" }),
  name: text("name").notNull(),
  address: text("address").notNull(),
  roles: text("roles").array().notNull().default(sql`'{transform}'::text[]`),
  description: jsonb("description"),
  describedAt: timestamp("described_at", { withTimezone: true }),
  state: text("state").notNull().default(sql`'unknown'::text`),
  createdBy: text("created_by"),
  createdAt: timestamp("created_at", { withTimezone: true }).notNull().defaultNow(),
  updatedAt: timestamp("updated_at", { withTimezone: true }).notNull().defaultNow(),
});

export const subscriptions = onedata.table("subscriptions", {
  id: bigint("id", { mode: "bigint" }).notNull().generatedByDefaultAsIdentity().primaryKey(),
  tenantId: bigint("tenant_id", { mode: "bigint" }).notNull(),
  url: text("url").notNull(),
  topics: text("topics").array().notNull(),
  secret: bytea("secret"),
  enabled: boolean("enabled").notNull().default(sql`true`),
  createdAt: timestamp("created_at", { withTimezone: true }).notNull().defaultNow(),
  pipelines: text("pipelines").array().notNull().default(sql`'{}'::text[]`),
  oldSecret: bytea("old_secret"),
  oldSecretUntil: timestamp("old_secret_until", { withTimezone: true }),
  createdBy: text("created_by"),
  failures: integer("failures").notNull().default(sql`0`),
  problem: text("problem"),
  deliveredAt: timestamp("delivered_at", { withTimezone: true }),
});

export const notifications = onedata.table("notifications", {
  id: bigint("id", { mode: "bigint" }).notNull().default(sql`onedata.next_id()`).primaryKey(),
  tenantId: bigint("tenant_id", { mode: "bigint" }).notNull(),
  topic: text("topic").notNull(),
  pipelineId: bigint("pipeline_id", { mode: "bigint" }),
  pipeline: text("pipeline").notNull().default(sql`''::text`),
  subject: text("subject").notNull(),
  episode: text("episode").notNull(),
  detail: jsonb("detail").notNull().default(sql`'{}'::jsonb`),
  createdAt: timestamp("created_at", { withTimezone: true }).notNull().default(sql`clock_timestamp()`),
});

export const deliveries = onedata.table(
  "deliveries",
  {
    notificationId: bigint("notification_id", { mode: "bigint" }).notNull(),
    subscriptionId: bigint("subscription_id", { mode: "bigint" }).notNull(),
    tenantId: bigint("tenant_id", { mode: "bigint" }).notNull(),
    state: text("state").notNull().default(sql`'waiting'::text`),
    tries: integer("tries").notNull().default(sql`0`),
    result: text("result").notNull().default(sql`''::text`),
    nextTryAt: timestamp("next_try_at", { withTimezone: true }).notNull().default(sql`clock_timestamp()`),
    claim: uuid("claim"),
    createdAt: timestamp("created_at", { withTimezone: true }).notNull().default(sql`clock_timestamp()`),
    finishedAt: timestamp("finished_at", { withTimezone: true }),
  },
  (table) => [primaryKey({ columns: [table.subscriptionId, table.notificationId] })],
);

export const deadLetterGrowth = onedata.table(
  "dead_letter_growth",
  {
    pipelineId: bigint("pipeline_id", { mode: "bigint" }).notNull(),
    fingerprint: text("fingerprint").notNull(),
    tenantId: bigint("tenant_id", { mode: "bigint" }).notNull(),
    firstId: bigint("first_id", { mode: "bigint" }).notNull(),
    seen: bigint("seen", { mode: "bigint" }).notNull(),
    told: bigint("told", { mode: "bigint" }).notNull(),
    updatedAt: timestamp("updated_at", { withTimezone: true }).notNull().default(sql`clock_timestamp()`),
  },
  (table) => [primaryKey({ columns: [table.pipelineId, table.fingerprint] })],
);

export const outages = onedata.table("outages", {
  pipelineId: bigint("pipeline_id", { mode: "bigint" }).notNull().primaryKey(),
  tenantId: bigint("tenant_id", { mode: "bigint" }).notNull(),
  since: timestamp("since", { withTimezone: true }).notNull(),
  reason: text("reason").notNull(),
  toldAt: timestamp("told_at", { withTimezone: true }),
});

export const settings = onedata.table(
  "settings",
  {
    tenantId: bigint("tenant_id", { mode: "bigint" }).notNull(),
    kind: text("kind").notNull().default(sql`'var'::text`),
    name: text("name").notNull(),
    value: text("value").notNull(),
    updatedBy: text("updated_by"),
    updatedAt: timestamp("updated_at", { withTimezone: true }).notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.tenantId, table.kind, table.name] })],
);

export const installation = onedata.table("installation", {
  name: text("name").notNull().primaryKey(),
  value: text("value").notNull(),
  createdAt: timestamp("created_at", { withTimezone: true }).notNull().defaultNow(),
});

export const audit = onedata.table("audit", {
  id: bigint("id", { mode: "bigint" }).notNull().default(sql`onedata.next_id()`).primaryKey(),
  tenantId: bigint("tenant_id", { mode: "bigint" }),
  principal: text("principal").notNull(),
  action: text("action").notNull(),
  subject: text("subject").notNull(),
  detail: jsonb("detail").notNull().default(sql`'{}'::jsonb`),
  traceId: bytea("trace_id"),
});

export const tallies = onedata.table(
  "tallies",
  {
    ownerId: bigint("owner_id", { mode: "bigint" }).notNull(),
    stripe: smallint("stripe").notNull(),
    delivered: bigint("delivered", { mode: "bigint" }).notNull().default(sql`0`),
    filtered: bigint("filtered", { mode: "bigint" }).notNull().default(sql`0`),
    dead: bigint("dead", { mode: "bigint" }).notNull().default(sql`0`),
  },
  (table) => [primaryKey({ columns: [table.ownerId, table.stripe] })],
);

export const pipelineStats = onedata.table(
  "pipeline_stats",
  {
    pipelineId: bigint("pipeline_id", { mode: "bigint" }).notNull(),
    minute: timestamp("minute", { withTimezone: true }).notNull(),
    stripe: smallint("stripe").notNull().default(sql`0`),
    captured: bigint("captured", { mode: "bigint" }).notNull().default(sql`0`),
    delivered: bigint("delivered", { mode: "bigint" }).notNull().default(sql`0`),
    filtered: bigint("filtered", { mode: "bigint" }).notNull().default(sql`0`),
    dead: bigint("dead", { mode: "bigint" }).notNull().default(sql`0`),
    bytes: bigint("bytes", { mode: "bigint" }).notNull().default(sql`0`),
    latencyMs: bigint("latency_ms", { mode: "bigint" }).notNull().default(sql`0`),
  },
  (table) => [primaryKey({ columns: [table.pipelineId, table.minute, table.stripe] })],
);
