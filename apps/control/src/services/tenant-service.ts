/** TenantService: operators make tenants and set limits; a tenant has its variables, its OAuth2 clients and its audit log. */
import type { TenantServiceDefinition } from "@onedata/contracts";
import { OneDataError, type TenantId, type Violation } from "@onedata/core";
import type { CallContext, Implementation, ResponseInit } from "@onedata/mesh";
import type { Sql } from "@onedata/store";
import {
  createClient,
  createTenant,
  findTenant,
  getTenant,
  listAudit,
  listClients,
  revokeClient,
  setLimits,
  setRetention,
  setVariables,
  type TenantLimits,
  type TenantRow,
} from "@onedata/store/control";
import { askErasure, type RetentionDays, readDatabaseBytes, readUsage } from "@onedata/store/retention";
import { BIG, fromToken, toActor, toLimit, toToken } from "./call.ts";

type TenantMessage = ResponseInit<(typeof TenantServiceDefinition)["methods"]["getTenant"]>;

const MAX_VARIABLES = 500;
const MAX_VARIABLE_BYTES = 8 * 1024;

export type TenantServicePorts = {
  readonly sql: Sql;
  readonly knownScopes: ReadonlySet<string>;
  /** The operator's. */
  readonly maxRetention: RetentionDays;
  /** Bytes free on the database's disk; absent = it cannot be seen from here. */
  readonly readDiskFree?: (() => Promise<number>) | undefined;
};

export function createTenantService({
  sql,
  knownScopes,
  maxRetention,
  readDiskFree,
}: TenantServicePorts): Implementation<typeof TenantServiceDefinition> {
  const toMessage = (row: TenantRow): TenantMessage => toTenant(row, maxRetention);
  return {
    createTenant: async ({ name, limits }, context) =>
      toMessage(await createTenant(sql, context.tenantId, toActor(context), { name, limits: limits ?? NO_LIMITS })),
    getTenant: async (_request, { tenantId }) => toMessage(await getTenant(sql, tenantId)),
    setLimits: async ({ tenant, limits }, context) =>
      toMessage(await setLimits(sql, await findTenant(sql, tenant), toActor(context), limits ?? NO_LIMITS)),
    async setVariables({ variables }, context) {
      const violations = checkVariables(variables);
      if (violations.length > 0)
        throw new OneDataError("request.invalid", `the variables cannot be used: ${violations[0]?.detail ?? ""}`, { violations });
      return toMessage(await setVariables(sql, context.tenantId, toActor(context), variables));
    },
    async createClient({ name, scopes, tenant }, context) {
      const tenantId = await tenantOf(sql, tenant, context);
      checkScopes(scopes, knownScopes, context.scopes);
      const client = await createClient(sql, tenantId, toActor(context), { name, scopes: [...new Set(scopes)].sort() });
      return { clientId: client.clientId, clientSecret: client.clientSecret, scopes: [...client.scopes] };
    },
    listClients: async (_request, { tenantId }) => ({
      clients: (await listClients(sql, tenantId)).map((client) => ({ ...client, scopes: [...client.scopes] })),
    }),
    async revokeClient({ clientId }, context) {
      await revokeClient(sql, context.tenantId, toActor(context), clientId);
      return {};
    },
    async setRetention({ retention }, context) {
      const wanted = { eventsDays: retention?.eventsDays ?? 0, deadLettersDays: retention?.deadLettersDays ?? 0 };
      checkRetention(wanted, maxRetention);
      return toMessage(await setRetention(sql, context.tenantId, toActor(context), wanted));
    },
    async getUsage(_request, { tenantId, scopes }) {
      const usage = await readUsage(sql, tenantId);
      const isOperator = scopes.has("admin");
      return {
        ...usage,
        days: usage.days.map((day) => ({ ...day })),
        databaseBytes: isOperator ? await readDatabaseBytes(sql) : 0,
        diskFreeBytes: isOperator && readDiskFree !== undefined ? await readDiskFree() : 0,
      };
    },
    async eraseTenant({ tenant, confirm }, context) {
      if (confirm !== tenant)
        throw new OneDataError("request.invalid", `to erase ${JSON.stringify(tenant)}, its name must stand in \`confirm\` too`, {
          violations: [{ pointer: "/confirm", code: "const", detail: `is ${JSON.stringify(confirm)}, not ${JSON.stringify(tenant)}` }],
        });
      return askErasure(sql, context.tenantId, toActor(context), tenant);
    },
    async listAudit({ pageSize, pageToken }, { tenantId }) {
      const limit = toLimit(pageSize);
      const before = fromToken(pageToken, new RegExp(`^${BIG}$`))?.[0];
      const rows = await listAudit(sql, tenantId, { limit: limit + 1, before: before === undefined ? undefined : BigInt(before) });
      const page = rows.slice(0, limit);
      return {
        entries: page.map(({ at, who, action, subject, detail }) => ({ at, who, action, subject, detail })),
        nextPageToken: rows.length > limit ? toToken(page.at(-1)?.id ?? 0n) : "",
      };
    },
  };
}

const NO_LIMITS: TenantLimits = { eventsPerSecond: 0, backlogBytes: 0, pipelines: 0 };

/** Only an operator names another tenant; to others, no other tenant exists. */
async function tenantOf(sql: Sql, name: string, { tenantId, scopes }: CallContext): Promise<TenantId> {
  if (name === "") return tenantId;
  const own = await getTenant(sql, tenantId);
  if (own.name === name) return tenantId;
  if (!scopes.has("admin")) throw new OneDataError("tenant.not_found", `no tenant ${JSON.stringify(name)}`);
  return findTenant(sql, name);
}

function checkScopes(scopes: readonly string[], known: ReadonlySet<string>, held: ReadonlySet<string>): void {
  const violations = scopes.flatMap((scope, i): Violation[] => {
    if (!known.has(scope))
      return [{ pointer: `/scopes/${i}`, code: "scope.unknown", detail: `no scope ${JSON.stringify(scope)}; known: ${[...known].sort().join(" ")}` }];
    if (!held.has(scope) && !held.has("admin"))
      return [{ pointer: `/scopes/${i}`, code: "scope.not_held", detail: `you do not hold ${JSON.stringify(scope)}, so you cannot give it` }];
    return [];
  });
  if (violations.length > 0)
    throw new OneDataError("request.invalid", `the client cannot have these scopes: ${violations[0]?.detail ?? ""}`, { violations });
}

function checkVariables(variables: Readonly<Record<string, string>>): Violation[] {
  const entries = Object.entries(variables);
  if (entries.length > MAX_VARIABLES)
    return [{ pointer: "/variables", code: "max_pairs", detail: `${entries.length} variables; at most ${MAX_VARIABLES}` }];
  return entries.flatMap(([name, value]): Violation[] => {
    const pointer = `/variables/${name}`;
    if (!/^[A-Za-z_][A-Za-z0-9_-]{0,62}$/.test(name))
      return [{ pointer, code: "name", detail: `${JSON.stringify(name)} is no name: letters, digits, _ and -, starting with a letter, at most 63` }];
    if (Buffer.byteLength(value) > MAX_VARIABLE_BYTES)
      return [{ pointer, code: "max_len", detail: `${name} has ${Buffer.byteLength(value)} bytes; at most ${MAX_VARIABLE_BYTES}` }];
    return [];
  });
}

function checkRetention(wanted: RetentionDays, max: RetentionDays): void {
  const check = (name: keyof RetentionDays, what: string): Violation[] =>
    wanted[name] <= max[name]
      ? []
      : [
          {
            pointer: `/retention/${name}`,
            code: "lte",
            detail: `${what} are kept for ${max[name]} days at most here; ${wanted[name]} needs an operator`,
          },
        ];
  const violations = [...check("eventsDays", "events"), ...check("deadLettersDays", "dead letters")];
  if (violations.length > 0) throw new OneDataError("request.invalid", violations[0]?.detail ?? "", { violations });
}

const toTenant = (row: TenantRow, max: RetentionDays): TenantMessage => ({
  retention: { ...row.retention, maxEventsDays: max.eventsDays, maxDeadLettersDays: max.deadLettersDays },
  name: row.name,
  limits: row.limits,
  variables: { ...row.variables },
  createdAt: row.createdAt,
});
