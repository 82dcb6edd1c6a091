export type { CheckInput, ConnectionConfig, ConnectionKind, Sink, SinkGroup, SinkRecord, SinkWriter, SourceEvent, WriteContext, WriteOutcome, WriteOutcomes } from "./sink.ts";
export { createPools, type DatabaseIdentity, type Pools, type PoolsOptions, readIdentity } from "./postgres/pools.ts";
export { createPostgresWriter } from "./postgres/writer.ts";
