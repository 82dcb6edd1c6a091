/** ConnectionService: named addresses with secrets. Secrets come in and are never shown again. */
import type { ConnectionServiceDefinition } from "@onedata/contracts";
import { isJsonObject, type Json, type JsonObject, OneDataError } from "@onedata/core";
import type { Implementation, ResponseInit } from "@onedata/mesh";
import { secretAudience } from "@onedata/sinks";
import type { Sql } from "@onedata/store";
import { type ConnectionRow, deleteConnection, getConnection, listConnections, putConnection, type SecretBox } from "@onedata/store/control";
import { toActor } from "./call.ts";
import { checkAgainstKind, checkOpenConfig } from "./connection-config.ts";
import type { SinkChecker } from "./sink-checker.ts";

type ConnectionMessage = ResponseInit<(typeof ConnectionServiceDefinition)["methods"]["getConnection"]>;

export function createConnectionService({
  sql,
  box,
  sinks,
}: {
  readonly sql: Sql;
  readonly box: SecretBox;
  readonly sinks: SinkChecker;
}): Implementation<typeof ConnectionServiceDefinition> {
  return {
    async putConnection({ connection, kind, config, secrets }, context) {
      const open = toJsonObject(config);
      const [known] = (await listConnections(sql, context.tenantId)).filter(({ name }) => name === connection);
      const problems = checkOpenConfig(open);
      // Of another kind nothing is kept, and storing says so of each secret.
      const kept = known?.kind === kind ? known.secretNames : [];
      if (problems.length === 0) problems.push(...checkAgainstKind({ kind, config: open, secrets, kept }));
      if (problems.length > 0)
        throw new OneDataError("request.invalid", `connection ${JSON.stringify(connection)}: ${problems[0]?.detail ?? ""}`, { violations: problems });
      return toMessage(
        await putConnection(sql, context.tenantId, toActor(context), {
          name: connection,
          kind,
          config: JSON.stringify(open),
          secrets,
          box,
          audienceOf: secretAudience,
        }),
      );
    },
    getConnection: async ({ connection }, { tenantId }) => toMessage(await getConnection(sql, tenantId, connection)),
    listConnections: async (_request, { tenantId }) => ({ connections: (await listConnections(sql, tenantId)).map(toMessage) }),
    async deleteConnection({ connection }, context) {
      await deleteConnection(sql, context.tenantId, toActor(context), connection);
      return {};
    },
    async testConnection({ connection }, context) {
      const problem = await sinks.tryConnection(context.tenantId, connection, context.signal);
      return { ok: problem === "", problem };
    },
  };
}

const toMessage = (row: ConnectionRow): ConnectionMessage => {
  const config: unknown = JSON.parse(row.config);
  return {
    name: row.name,
    kind: row.kind,
    config: typeof config === "object" && config !== null ? { ...config } : {},
    secretNames: [...row.secretNames],
    updatedAt: row.updatedAt,
  };
};

/** A Struct of the contract, as the JSON it is. */
function toJsonObject(config: unknown): JsonObject {
  const value: Json = JSON.parse(JSON.stringify(config ?? {}));
  return isJsonObject(value) ? value : {};
}
