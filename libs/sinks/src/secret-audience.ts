/** Whom the secrets of a connection are for. A secret that is kept while the rest of a connection changes may go to the same audience only. */
import { type JsonObject, OneDataError } from "@onedata/core";
import { parseHttpUrl } from "./http-post/connection.ts";
import { readPostgresConnection } from "./postgres/connection-config.ts";

/**
 * http: the origin. postgres: host, port and user, and how the server proves itself, because an unproved one may ask for the password.
 * Takes open members and secrets together. The text is for comparing and may hold parts of secrets; undefined where the config does not say.
 */
export function secretAudience(kind: string, config: JsonObject): string | undefined {
  return audiences[kind]?.(config);
}

const audiences: Readonly<Record<string, (config: JsonObject) => string | undefined>> = {
  http({ baseUrl }) {
    const url = typeof baseUrl === "string" ? parseHttpUrl(baseUrl) : "";
    return typeof url === "string" ? undefined : url.origin;
  },
  postgres(config) {
    try {
      const { host, port, user, tls, ca } = readPostgresConnection(config);
      return JSON.stringify([host.toLowerCase(), port, user, tls, ca]);
    } catch (error) {
      if (OneDataError.from(error).code === "config.invalid") return undefined;
      throw error;
    }
  },
};
