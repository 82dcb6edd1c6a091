/** Asks load services whether a sink can be used, with the connection's secrets where the sink names one. */
import type { LoadServiceDefinition, transformV1 } from "@onedata/contracts";
import { type Json, OneDataError, type TenantId, type Violation } from "@onedata/core";
import { stringifyJson } from "@onedata/formats";
import type { Client } from "@onedata/mesh";
import type { Sql } from "@onedata/store";
import { connectionForRun, getConnection, type SecretBox } from "@onedata/store/control";

export interface SinkChecker {
  /** With its secrets. Throws `connection.not_found`. */
  readConnection(tenantId: TenantId, name: string): Promise<transformV1.Connection>;
  hasConnection(tenantId: TenantId, name: string): Promise<boolean>;
  check(
    tenantId: TenantId,
    sink: { readonly kind: string; readonly service: string; readonly config: Json; readonly connection: string | undefined },
    signal: AbortSignal,
  ): Promise<readonly Violation[]>;
  /** Empty when the connection works, else what does not. */
  tryConnection(tenantId: TenantId, name: string, signal: AbortSignal): Promise<string>;
}

export type LoadClient = Client<typeof LoadServiceDefinition>;

/** `load`: the client of a load service by the name it gives in Describe; undefined for an unknown one. */
export function createSinkChecker({ sql, box, load }: { sql: Sql; box: SecretBox; load: (service: string) => LoadClient | undefined }): SinkChecker {
  const readConnection = async (tenantId: TenantId, name: string): Promise<transformV1.Connection> => {
    const { kind, configJson } = await connectionForRun(sql, tenantId, name, box);
    return { name, kind, configJson: Buffer.from(configJson, "utf8") };
  };
  const clientOf = (service: string): LoadClient => {
    const client = load(service);
    if (client === undefined) throw new OneDataError("service.unavailable", `no address is known for the load service ${JSON.stringify(service)}`);
    return client;
  };
  return {
    readConnection,
    async hasConnection(tenantId, name) {
      try {
        await getConnection(sql, tenantId, name);
        return true;
      } catch (error) {
        if (OneDataError.from(error).code === "connection.not_found") return false;
        throw error;
      }
    },
    async check(tenantId, sink, signal) {
      const connection = sink.connection === undefined ? undefined : await readConnection(tenantId, sink.connection);
      const answer = await clientOf(sink.service).checkSink(
        { sink: sink.kind, configJson: Buffer.from(stringifyJson(sink.config), "utf8"), connection, tenant: String(tenantId) },
        { signal, timeoutMs: 8_000 },
      );
      return answer.problems.map(({ pointer, code, detail }) => ({ pointer, code, detail }));
    },
    async tryConnection(tenantId, name, signal) {
      const answer = await clientOf("load").checkConnection({ connection: await readConnection(tenantId, name) }, { signal });
      return answer.problem;
    },
  };
}
