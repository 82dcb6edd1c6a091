export { connect, isConnectionLost, openStore, sqlStateOf, type Sql, type Store, type StoreOptions, type Transaction, withPartitions } from "./connection.ts";
export { type EmbeddedPostgres, type EmbeddedPostgresOptions, openEmbeddedPostgres } from "./embedded/server.ts";
export { migrate, readMigrations } from "./migrate.ts";
