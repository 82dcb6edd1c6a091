/** What a connection of kind `postgres` says, and the options of the driver it becomes. Nothing of it is ever put into a message but host, port and database. */
import { isIP } from "node:net";
import { type JsonObject, OneDataError } from "@onedata/core";
import { createConfigReader } from "../config-reader.ts";
import type { DriverOptions } from "./clients.ts";

export type PostgresConnection = {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly password: string;
  readonly tls: "disable" | "require" | "verify-full";
  /** PEM of the authority, for verify-full with a private one. */
  readonly ca?: string;
  /** Where tables and the ledger are when a sink does not say. */
  readonly schema: string;
};

export const postgresConnectionSchema: JsonObject = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  additionalProperties: false,
  properties: {
    url: {
      type: "string",
      writeOnly: true,
      description: "postgres://user:password@host:port/database?sslmode=verify-full; instead of the members below",
    },
    host: { type: "string" },
    port: { type: "integer", minimum: 1, maximum: 65535, default: 5432 },
    database: { type: "string" },
    user: { type: "string" },
    password: { type: "string", writeOnly: true },
    tls: {
      enum: ["disable", "require", "verify-full"],
      default: "disable",
      description: "require encrypts only; verify-full also proves the server",
    },
    ca: { type: "string", description: "PEM of the certificate authority" },
    schema: { type: "string", default: "public", description: "schema of tables and of the ledger onedata_applied" },
  },
  anyOf: [{ required: ["url"] }, { required: ["host", "database", "user"] }],
};

export function readPostgresConnection(config: JsonObject): PostgresConnection {
  const reader = createConfigReader("postgres connection", config);
  const url = reader.text("url");
  const parsed = url === undefined ? undefined : parseUrl(url);
  if (url !== undefined && parsed === undefined) reader.problem("url", "url must look like postgres://user:password@host:port/database");
  const need = (member: "host" | "database" | "user", fromUrl: string | undefined): string =>
    url === undefined ? reader.requiredText(member) : (reader.text(member) ?? fromUrl ?? "");
  const host = need("host", parsed?.host);
  // A slash would be a Unix socket of the load service's own machine, a comma a list.
  if (/[/,\s]/.test(host)) reader.problem(url === undefined ? "host" : "url", "host must be one name or address");
  const ca = reader.text("ca");
  const result: PostgresConnection = {
    host,
    port: reader.integer("port", { min: 1, max: 65_535, fallback: parsed?.port ?? 5432 }),
    database: need("database", parsed?.database),
    user: need("user", parsed?.user),
    password: reader.text("password") ?? parsed?.password ?? "",
    tls: reader.choice("tls", ["disable", "require", "verify-full"], parsed?.tls ?? "disable"),
    ...(ca === undefined ? {} : { ca }),
    schema: reader.text("schema") ?? "public",
  };
  if (result.host === "" || result.database === "" || result.user === "")
    reader.problem(url === undefined ? "host" : "url", "host, database and user are needed");
  reader.done();
  return result;
}

function parseUrl(text: string): Pick<PostgresConnection, "host" | "port" | "database" | "user" | "password" | "tls"> | undefined {
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  if (url.protocol !== "postgres:" && url.protocol !== "postgresql:") return undefined;
  const mode = url.searchParams.get("sslmode");
  try {
    return {
      host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
      port: url.port === "" ? 5432 : Number(url.port),
      database: decodeURIComponent(url.pathname.slice(1)),
      user: decodeURIComponent(url.username),
      password: decodeURIComponent(url.password),
      tls: mode === "require" ? "require" : mode === "verify-full" || mode === "verify-ca" ? "verify-full" : "disable",
    };
  } catch {
    return undefined;
  }
}

export type Session = {
  readonly applicationName: string;
  /** Every transaction, so that what a view or a rule does cannot write. */
  readonly isReadOnly: boolean;
  readonly connectSeconds: number;
  readonly statementMs: number;
  readonly lockMs: number;
  readonly idleInTransactionMs: number;
};

/** Every option is given, because the driver fills gaps from PG* environment variables of the process. */
export function toDriverOptions(c: PostgresConnection, session: Session): DriverOptions {
  if (c.host === "") throw new OneDataError("config.invalid", "postgres connection: host is needed");
  return {
    host: c.host,
    port: c.port,
    database: c.database,
    username: c.user,
    password: c.password,
    ssl:
      c.tls === "disable"
        ? false
        : c.tls === "require"
          ? { rejectUnauthorized: false, ...serverName(c.host) }
          : { rejectUnauthorized: true, servername: c.host, ...(c.ca === undefined ? {} : { ca: c.ca }) },
    // Clients live and die by clients.ts.
    idle_timeout: 0,
    max_lifetime: null,
    connect_timeout: session.connectSeconds,
    keep_alive: 30,
    fetch_types: false,
    prepare: true,
    onnotice: () => undefined,
    connection: {
      application_name: session.applicationName,
      // An effect is reported as done after this commit, so it must be on disk whatever the server's default is.
      synchronous_commit: "on",
      default_transaction_read_only: session.isReadOnly,
      statement_timeout: session.statementMs,
      lock_timeout: session.lockMs,
      idle_in_transaction_session_timeout: session.idleInTransactionMs,
    },
  };
}

/** Said in the handshake though the connection is made to an address: services that serve many databases tell them apart by it. */
const serverName = (host: string): { servername?: string } => (isIP(host) === 0 ? { servername: host } : {});

export const addressOf = (c: PostgresConnection): string => `${c.host}:${c.port}/${c.database}`;
