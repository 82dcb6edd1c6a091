/** ConnectionService: named addresses with secrets. Secrets come in and are never shown again. */
import type { ConnectionServiceDefinition } from "@onedata/contracts";
import { OneDataError, type Violation } from "@onedata/core";
import type { Implementation, ResponseInit } from "@onedata/mesh";
import type { Sql } from "@onedata/store";
import { type ConnectionRow, deleteConnection, getConnection, listConnections, putConnection, type SecretBox } from "@onedata/store/control";
import { toActor } from "./call.ts";
import type { SinkChecker } from "./sink-checker.ts";

type ConnectionMessage = ResponseInit<(typeof ConnectionServiceDefinition)["methods"]["getConnection"]>;

/** Members that must not lie in the open part of a connection. */
const SECRET_NAME = /(password|passwd|secret|token|api_?key|authorization|private_?key)/i;

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
      const problems = checkOpenConfig(config ?? {});
      if (problems.length > 0)
        throw new OneDataError("request.invalid", `connection ${JSON.stringify(connection)}: ${problems[0]?.detail ?? ""}`, { violations: problems });
      return toMessage(
        await putConnection(sql, context.tenantId, toActor(context), { name: connection, kind, config: JSON.stringify(config ?? {}), secrets, box }),
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

/** A secret in `config` would be stored in the open and shown to every reader. */
function checkOpenConfig(config: Readonly<Record<string, unknown>>): Violation[] {
  if (JSON.stringify(config).includes("\\u0000")) return [{ pointer: "/config", code: "no_nul", detail: "holds U+0000, which cannot be stored" }];
  return Object.entries(config).flatMap(([name, value]): Violation[] => {
    const pointer = `/config/${name}`;
    if (SECRET_NAME.test(name))
      return [
        {
          pointer,
          code: "connection.secret_in_config",
          detail: `${JSON.stringify(name)} looks like a secret: put it under secrets, where it is encrypted`,
        },
      ];
    if (typeof value === "string" && /^[a-z][a-z0-9+.-]*:\/\/[^/@\s]*:[^/@\s]+@/i.test(value)) {
      return [
        {
          pointer,
          code: "connection.secret_in_config",
          detail: "the address holds a password: put the whole address under secrets, or the password apart",
        },
      ];
    }
    return [];
  });
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
