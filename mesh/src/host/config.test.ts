import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OneDataError } from "@onedata/core";
import { describe, expect, expectTypeOf, it } from "vitest";
import { describeConfig, readConfig, setting } from "./config.ts";

const schema = {
  database: setting.text({ doc: "Postgres, e.g. postgres://host/db", default: "embedded:", pattern: /^(embedded:|postgres:\/\/)/ }),
  port: setting.port({ doc: "port, 0 = any free one", default: 0 }),
  meshSecret: setting.secret({ doc: "shared by all workloads", minLength: 16 }),
  logLevel: setting.oneOf(["info", "debug"], { doc: "how much", default: "info" }),
  verbose: setting.flag({ doc: "more", default: false }),
  home: setting.optional(setting.text({ doc: "folder" })),
};
const secret = "0123456789abcdef";

const problemsOf = (env: Record<string, string>, argv: string[] = []): string[] => {
  try {
    readConfig(schema, env, argv);
    return [];
  } catch (error) {
    const known = OneDataError.from(error);
    expect(known.code).toBe("config.problems");
    return known.violations.map(({ pointer, code }) => `${pointer} ${code}`);
  }
};

describe("readConfig", () => {
  it("takes defaults, variables, arguments, and files for secrets; arguments win", () => {
    const file = join(mkdtempSync(join(tmpdir(), "config-")), "secret");
    writeFileSync(file, `${secret}\n`);
    const env = { ONEDATA_PORT: "1", ONEDATA_LOG_LEVEL: "debug", ONEDATA_MESH_SECRET_FILE: file };
    const config = readConfig(schema, env, ["--port=8080", "--verbose"]);
    expect(config).toEqual({ database: "embedded:", port: 8080, meshSecret: secret, logLevel: "debug", verbose: true, home: undefined });
    expectTypeOf(config.logLevel).toEqualTypeOf<"info" | "debug">();
    expectTypeOf(config.home).toEqualTypeOf<string | undefined>();
  });

  it("takes a variable that a standard has named where none of ours is given", () => {
    const ratio = { traceRatio: setting.also("OTEL_RATIO", setting.number({ doc: "share of traces", default: 0.5, min: 0, max: 1 })) };
    expect(readConfig(ratio, {})).toEqual({ traceRatio: 0.5 });
    expect(readConfig(ratio, { OTEL_RATIO: "" })).toEqual({ traceRatio: 0.5 });
    expect(readConfig(ratio, { OTEL_RATIO: "0.25" })).toEqual({ traceRatio: 0.25 });
    expect(readConfig(ratio, { OTEL_RATIO: "0.25", ONEDATA_TRACE_RATIO: "1" })).toEqual({ traceRatio: 1 });
    expect(() => readConfig(ratio, { OTEL_RATIO: "1.5" })).toThrow("must be a number from 0 to 1");
    expect(describeConfig(ratio)).toContain("ONEDATA_TRACE_RATIO (--trace-ratio, OTEL_RATIO)");
  });

  it("reports all problems at once", () => {
    expect(problemsOf({ ONEDATA_PORT: "70000", ONEDATA_DATABASE: "mysql://x" }, ["--nonsense=1", "--log-level=loud"])).toEqual([
      " unknown",
      "/database invalid",
      "/port invalid",
      "/meshSecret missing",
      "/logLevel invalid",
    ]);
  });

  it("says what to set, and never a secret's value", () => {
    const message = (() => {
      try {
        readConfig(schema, { ONEDATA_MESH_SECRET: "hunter2" });
        return "";
      } catch (error) {
        return OneDataError.from(error).message;
      }
    })();
    expect(message).toContain("ONEDATA_MESH_SECRET (--mesh-secret) must have at least 16 characters: shared by all workloads");
    expect(message).not.toContain("hunter2");
  });

  it("describes itself", () => {
    expect(describeConfig(schema)).toMatch(/ONEDATA_PORT \(--port\) +port, 0 = any free one \[0\]/);
  });
});
