/**
 * The pipelines this gateway captures into, with schema and ordering compiled once per version.
 * Freshness: the capture statement itself refuses an outdated version (`forget` and look again); a changed or deleted pipeline is also noticed each second
 * and by the control plane's notifications. Invariant: bounded; a pipeline is known per tenant, so another tenant's name is never found.
 */
import { type Json, OneDataError, type PipelineId, type TenantId } from "@onedata/core";
import { parseJson } from "@onedata/formats";
import { compileExpression, compileSchema, type Expression, type SchemaCheck } from "@onedata/operations";
import type { CapturePipelineRecord } from "@onedata/store";
import type { Log } from "../http/seam.ts";
import type { Share } from "../shares/share.ts";

export type CapturePipeline = {
  readonly tenantId: TenantId;
  readonly pipelineId: PipelineId;
  readonly name: string;
  readonly version: number;
  readonly state: string;
  readonly ordering: Expression | undefined;
  readonly schema: SchemaCheck | undefined;
  readonly outputsSink: number | undefined;
};

export interface PipelineStore {
  find(tenantId: TenantId, name: string): Promise<CapturePipelineRecord | undefined>;
  stamps(ids: readonly PipelineId[]): Promise<ReadonlyMap<bigint, string>>;
  stampOf(record: CapturePipelineRecord): string;
}

export interface Pipelines {
  /** Synchronous when known. Throws or rejects with `pipeline.not_found`, `pipeline.deleting` or `pipeline.conflict` (no version is active). */
  get(tenantId: TenantId, name: string): CapturePipeline | Promise<CapturePipeline>;
  forget(tenantId: TenantId, name: string): void;
  /** Drops what has changed. */
  refresh(): Promise<void>;
}

type Entry = { readonly pipeline: CapturePipeline; readonly stamp: string };

const MAX_PIPELINES = 20_000;

export function createPipelines(store: PipelineStore, lookups: Share, log: Log): Pipelines {
  const tenants = new Map<TenantId, Map<string, Entry>>();
  const loading = new Map<string, Promise<CapturePipeline>>();
  let size = 0;

  const forget = (tenantId: TenantId, name: string): void => {
    if (tenants.get(tenantId)?.delete(name) === true) size -= 1;
  };
  const load = async (tenantId: TenantId, name: string): Promise<CapturePipeline> => {
    const record = await store.find(tenantId, name);
    if (record === undefined) throw notFound(name);
    if (record.state === "deleting") throw new OneDataError("pipeline.deleting", `the pipeline ${name} is being deleted and takes no more events`);
    if (record.activeVersion === undefined)
      throw new OneDataError(
        "pipeline.conflict",
        `the pipeline ${name} has no active version, so it takes no events yet: activate one with POST /v1/pipelines/${name}:activate {"version": …}; GET /v1/pipelines/${name}/versions lists them`,
      );
    const pipeline: CapturePipeline = {
      tenantId,
      pipelineId: record.pipelineId,
      name: record.name,
      version: record.activeVersion,
      state: record.state,
      ordering: record.ordering === undefined ? undefined : compileExpression(record.ordering),
      schema: record.inputSchema === undefined ? undefined : compileSchema(parseJson(record.inputSchema)),
      outputsSink: record.outputsSink,
    };
    let named = tenants.get(tenantId);
    if (named === undefined || size >= MAX_PIPELINES) {
      // Never reached by honest use; starting over is simpler than an order of use.
      if (size >= MAX_PIPELINES) {
        tenants.clear();
        size = 0;
      }
      named = new Map();
      tenants.set(tenantId, named);
    }
    if (!named.has(name)) size += 1;
    named.set(name, { pipeline, stamp: store.stampOf(record) });
    return pipeline;
  };
  return {
    get(tenantId, name) {
      const entry = tenants.get(tenantId)?.get(name);
      if (entry !== undefined) return entry.pipeline;
      if (!PIPELINE_NAME.test(name)) throw notFound(name);
      const key = `${tenantId}/${name}`;
      const open = loading.get(key);
      if (open !== undefined) return open;
      lookups.take(tenantId, 1);
      const promise = load(tenantId, name).finally(() => {
        loading.delete(key);
        lookups.give(tenantId, 1);
      });
      loading.set(key, promise);
      return promise;
    },
    forget,
    async refresh() {
      const entries = [...tenants.values()].flatMap((named) => [...named.values()]);
      if (entries.length === 0) return;
      try {
        const stamps = await store.stamps(entries.map((entry) => entry.pipeline.pipelineId));
        for (const { pipeline, stamp } of entries) if (stamps.get(pipeline.pipelineId) !== stamp) forget(pipeline.tenantId, pipeline.name);
      } catch (error) {
        log.warn("pipelines could not be refreshed", { error });
      }
    },
  };
}

export const PIPELINE_NAME = /^[a-z][a-z0-9_-]{0,62}$/;

const notFound = (name: string): OneDataError =>
  new OneDataError("pipeline.not_found", `no pipeline ${JSON.stringify(name.slice(0, 80))}; GET /v1/pipelines lists what there is`);

/** Text of an ordering key: strings as they are, other values as JSON, nothing as the empty key. */
export function toOrderingKey(value: Json | undefined): string {
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? value.replaceAll(UNSTORABLE, "\ufffd") : JSON.stringify(value);
}

/** The store packs keys with control characters between them, and text holds no U+0000. */
// oxlint-disable-next-line no-control-regex -- these are the characters meant
const UNSTORABLE = /[\u0000\u001d\u001e]/g;
