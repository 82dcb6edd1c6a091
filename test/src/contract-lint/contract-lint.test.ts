/** A change that callers would feel, and that `buf breaking` does not see, fails the check and is named. Runs the real script on a copy of the protos. */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const pipelineProto = "proto/onedata/pipeline/v1/pipeline.proto";

describe("contract lint", { timeout: 60_000 }, () => {
  let copy: string;
  beforeAll(() => {
    copy = mkdtempSync(join(tmpdir(), "contract-lint-"));
    mkdirSync(join(copy, "libs/contracts"), { recursive: true });
    for (const path of ["proto", "third_party", "buf.yaml", "infra", "package.json", "libs/contracts/contract.golden.json"]) {
      cpSync(join(root, path), join(copy, path), { recursive: true });
    }
    symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  });
  afterAll(() => rmSync(copy, { recursive: true, force: true }));

  const lintWith = (change: (proto: string) => string): { readonly status: number | null; readonly output: string } => {
    const original = readFileSync(join(root, pipelineProto), "utf8");
    const changed = change(original);
    writeFileSync(join(copy, pipelineProto), changed);
    const { status, stdout, stderr } = spawnSync(process.execPath, ["infra/local/contract-lint.mjs"], { cwd: copy, encoding: "utf8" });
    return { status, output: stdout + stderr };
  };

  it("passes the contract as it is", () => {
    expect(lintWith((proto) => proto)).toMatchObject({ status: 0 });
  });

  it("names a changed http path: the rpc, the old and the new one, and that it breaks callers", () => {
    const { status, output } = lintWith((proto) => proto.replace("/v1/pipelines/{pipeline}:pause", "/v1/pipelines/{pipeline}:halt"));
    expect(status).toBe(1);
    expect(output).toContain(
      "BREAKING    onedata.pipeline.v1.PipelineService/PausePipeline: route POST /v1/pipelines/{pipeline}:pause body=* → POST /v1/pipelines/{pipeline}:halt body=*",
    );
  });

  it("tells a compatible change from a breaking one", () => {
    const { output } = lintWith((proto) =>
      proto
        .replace('scopes: ["pipelines:write"]', 'scopes: ["pipelines:write", "admin"]')
        .replace('callers: ["gateway"]', 'callers: ["gateway", "engine"]'),
    );
    expect(output).toMatch(/BREAKING +onedata\.pipeline\.v1\.PipelineService\/ApplyPipeline: scopes with admin/);
    expect(output).toMatch(/compatible +onedata\.pipeline\.v1\.PipelineService: callers with engine/);
  });

  it("names a changed validation rule", () => {
    const { output } = lintWith((proto) => proto.replace("uint32.lte = 1000", "uint32.lte = 100"));
    expect(output).toMatch(/BREAKING +onedata\.pipeline\.v1\.ListPipelinesRequest\.page_size: rule .*1000.* → .*100/);
  });

  it("refuses an rpc without scopes or timeout, retries without idempotency, and GET with side effects", () => {
    const { status, output } = lintWith((proto) =>
      proto
        .replace(/scopes: \["pipelines:write"\]\n\s+timeout: \{seconds: 30\}/, "max_retries: 1")
        .replace("option idempotency_level = IDEMPOTENT;", "")
        .replace('put: "/v1/pipelines/{pipeline}"', 'get: "/v1/pipelines/{name}"'),
    );
    expect(status).toBe(1);
    for (const problem of [
      "needs scopes",
      "needs a timeout",
      "max_retries 1 without idempotency_level",
      "GET and NO_SIDE_EFFECTS go together",
      "no such field",
    ]) {
      expect(output).toContain(`onedata.pipeline.v1.PipelineService/ApplyPipeline: `);
      expect(output).toContain(problem);
    }
  });
});
