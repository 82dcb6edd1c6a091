/** The server settings of the embedded Postgres. Durable by default; `durable: false` is for test servers only. */
export type ServerSettings = {
  readonly port: number;
  readonly durable: boolean;
  readonly maxConnections: number;
  readonly extra?: Readonly<Record<string, string>>;
};

export function toPostgresConf({ port, durable, maxConnections, extra = {} }: ServerSettings): string {
  const settings: Record<string, string> = {
    listen_addresses: "127.0.0.1",
    port: String(port),
    unix_socket_directories: "", // one way in: TCP with a password
    max_connections: String(maxConnections),
    shared_buffers: "256MB",
    work_mem: "16MB",
    maintenance_work_mem: "128MB",
    effective_cache_size: "1GB",
    jit: "off", // compiling a 200-line claim takes longer than running it
    wal_level: "replica",
    // On from the start, so that the first `onedata backup` needs no restart: its archive.conf, included below, brings the real command.
    archive_mode: durable ? "on" : "off",
    archive_command: "true",
    wal_compression: "on",
    max_wal_size: "2GB",
    min_wal_size: "256MB",
    checkpoint_timeout: "15min",
    checkpoint_completion_target: "0.9",
    random_page_cost: "1.1",
    autovacuum_naptime: "10s",
    autovacuum_vacuum_cost_limit: "2000",
    fsync: durable ? "on" : "off",
    full_page_writes: durable ? "on" : "off",
    synchronous_commit: durable ? "on" : "off",
    password_encryption: "scram-sha-256",
    timezone: "UTC",
    log_timezone: "UTC",
    lc_messages: "C",
    log_min_duration_statement: "1000",
    ...extra,
  };
  return `# Written at every start.\n${Object.entries(settings)
    .map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'`)
    .join("\n")}\ninclude_if_exists = 'archive.conf'\n`;
}
