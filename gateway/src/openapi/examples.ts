/** Examples by full method name; a test reads each with the contract. A request of several media types is keyed by them. */
import type { Schema } from "./document.ts";

const ORDERS = {
  name: "orders",
  input: { schema: { type: "object", required: ["id", "price", "quantity"] }, ordering: "customer" },
  steps: [
    { id: "clean", use: "record.map", with: { set: { total: "price * quantity" } } },
    { id: "country", use: "enrich.lookup", with: { table: "countries", on: "country_code", take: ["name"] } },
  ],
  sinks: [{ use: "postgres.upsert", with: { connection: "warehouse", table: "orders_clean", key: ["id"] } }],
  tests: [{ name: "totals", given: [{ id: 1, price: 2, quantity: 3 }], expect: [{ id: 1, price: 2, quantity: 3, total: 6 }] }],
};

const PIPELINE = {
  name: "orders",
  state: "running",
  reason: "",
  activeVersion: 3,
  ordering: "customer",
  etag: "v3-running",
  createdAt: "2026-01-31T12:00:00Z",
  updatedAt: "2026-02-01T08:30:00Z",
  description: "",
  sinks: ["postgres.upsert"],
};

export const EXAMPLES: Readonly<Record<string, { readonly request?: Schema; readonly response?: Schema }>> = {
  "onedata.pipeline.v1.PipelineService.ApplyPipeline": {
    request: { "application/json": ORDERS, "application/yaml": ORDERS },
    response: {
      pipeline: PIPELINE,
      version: 3,
      created: true,
      diff: [{ op: "replace", pointer: "/steps/0/with/set/total", before: "price", after: "price * quantity" }],
      tests: [{ name: "totals", passed: true, detail: "", expected: null, actual: null }],
      warnings: [],
      dryRun: false,
    },
  },
  "onedata.pipeline.v1.PipelineService.GetPipeline": { response: PIPELINE },
  "onedata.pipeline.v1.PipelineService.ListPipelines": { response: { pipelines: [PIPELINE], nextPageToken: "" } },
  "onedata.pipeline.v1.PipelineService.ActivateVersion": { request: { version: 2 } },
  "onedata.pipeline.v1.PipelineService.PausePipeline": { request: { reason: "the warehouse moves tonight" } },
  "onedata.lab.v1.LabService.PreviewPipeline": { request: { version: 3, last: 5 } },
  "onedata.lookup.v1.LookupService.PutLookup": {
    request: { "text/csv": "country_code,name\nNO,Norway\n", "application/json": [{ country_code: "NO", name: "Norway" }] },
    response: { name: "countries", rows: 1, columns: ["country_code", "name"], hash: "9f86d081884c7d65", updatedAt: "2026-01-31T12:00:00Z" },
  },
  "onedata.connection.v1.ConnectionService.PutConnection": {
    request: {
      kind: "postgres",
      config: { host: "db.example.com", database: "warehouse", user: "etl" },
      secrets: { password: "only written, never read" },
    },
  },
  "onedata.tenant.v1.TenantService.CreateClient": { request: { name: "shop", scopes: ["events:write"] } },
};
