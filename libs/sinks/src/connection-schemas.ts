import type { JsonObject } from "@onedata/core";
import { httpConnectionSchema } from "./http-post/connection.ts";
import { postgresConnectionSchema } from "./postgres/connection-config.ts";

/** By kind of connection, the JSON Schema of what its sinks read: open members and secrets (`writeOnly`) together. Data: nothing is connected to. */
export const connectionSchemas: Readonly<Record<string, JsonObject>> = { postgres: postgresConnectionSchema, http: httpConnectionSchema };
