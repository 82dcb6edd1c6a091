/** Reads the sources: whoever adds a statement over a tenant's rows must name the tenant. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

/** Over all tenants on purpose: sweeps, operators' calls, and what takes the tenant later. */
const OVER_TENANTS = new Set([
  "listDeleting",
  "finishImports",
  "continueDiscards",
  "listOpenJobs",
  "purgeEndedJobs",
  "settleStrandedLetters",
  "stepJobs",
  "listenToChanges",
  "createLookups",
  "findTenant",
]);

const sources = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"))
  .map((file) => ({ file, text: readFileSync(join(import.meta.dirname, file), "utf8") }));

describe("the control plane's statements", () => {
  it("take the tenant right after the connection", () => {
    const exported = sources.flatMap(({ text }) => [
      ...text.matchAll(/export (?:async )?function\*? (\w+)\(\s*(?:sql|tx): [^,]+,\s*(\w+): (\w+)/g),
      ...text.matchAll(/export const (\w+) = (?:async )?\((?:sql|tx): [^,]+, (\w+): (\w+)/g),
    ]);
    expect(exported.length).toBeGreaterThan(30);
    const others = exported.filter(([, name, , type]) => type !== "TenantId" && !OVER_TENANTS.has(name ?? "")).map(([, name]) => name);
    expect(others).toEqual([]);
    const alone = sources.flatMap(({ text }) => [...text.matchAll(/export (?:async )?function\*? (\w+)\(sql: [^,)]+\)/g)]).map(([, name]) => name);
    expect(alone.filter((name) => !OVER_TENANTS.has(name ?? ""))).toEqual([]);
  });

  it("name the tenant, or a row that was found by it, wherever they touch a tenant's table", () => {
    const owned =
      /(?:from|join|into|update) onedata\.(pipelines|connections|lookups|lookup_versions|settings|principals|imports|dead_letters|batches|audit)\b/;
    // Rows of a pipeline that was found by its tenant, or the sweep's own statements.
    const narrowed =
      /tenant_id|actorTenantId|p\.id = \$\{pipelineId\}|where id = \$\{(?:before\.id|pipelineId|pipeline\.id)\}|state = 'deleting' order by p\.id|i\.state = 'received'/;
    const statements = sources.flatMap(({ file, text }) =>
      [...text.matchAll(/(?:sql|tx)(?:<[^`]*?>)?`([^`]+)/g)].map((match) => ({ file, statement: match[1] ?? "" })),
    );
    expect(statements.length).toBeGreaterThan(40);
    expect(statements.filter(({ statement }) => owned.test(statement) && !narrowed.test(statement))).toEqual([]);
  });
});
