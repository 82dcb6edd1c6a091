export { createExporter, type Exporter, type ExporterOptions, type OutputChunk, type OutputReader } from "./file/exporter.ts";
export { type FileSinkConfig, readFileConfig } from "./file/file-config.ts";
export type { HttpClientOptions } from "./http-post/client.ts";
export { type DatabaseIdentity, identityOfUrl, type PoolsOptions } from "./postgres/pools.ts";
export { createSinks, type Sinks, type SinksOptions } from "./registry.ts";
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
