export { connectionSchemas } from "./connection-schemas.ts";
export { createExporter, type Exporter, type ExporterOptions, type OutputChunk, type OutputReader } from "./file/exporter.ts";
export { type FileSinkConfig, readFileConfig } from "./file/file-config.ts";
export { type AddressPolicy, createAddressPolicy, readAddressList } from "./http-post/address-policy.ts";
export { createHttpClient, describeUrl, type HttpAnswer, type HttpClient, type HttpClientOptions } from "./http-post/client.ts";
export { createLedgerAudit, type LedgerAudit } from "./postgres/ledger-audit.ts";
export { createLedgerPurge, type LedgerPurge, type LedgerPurgeTask } from "./postgres/ledger-purge.ts";
export { type DatabaseIdentity, identityOfUrl, type PoolsOptions } from "./postgres/pools.ts";
export { createSinks, type Sinks, type SinksOptions } from "./registry.ts";
export { secretAudience } from "./secret-audience.ts";
export type {
  CheckInput,
  ConnectionConfig,
  ConnectionKind,
  Sink,
  SinkGroup,
  SinkRecord,
  SinkWriter,
  SourceEvent,
  WriteContext,
  WriteOutcome,
  WriteOutcomes,
} from "./sink.ts";
