import { OneDataError } from "@onedata/core";
import { describe, expect, it } from "vitest";
import { createLogger } from "./logger.ts";

const capture = (pretty: boolean) => {
  const lines: string[] = [];
  const logger = createLogger({ name: "engine", level: "info", pretty, write: (line) => lines.push(line), now: () => new Date(0) });
  return { lines, logger };
};

describe("createLogger", () => {
  it("writes one JSON line per call, with bound fields, and drops what is below the level", () => {
    const { lines, logger } = capture(false);
    logger.debug("not this");
    logger.with({ run: "r1" }).info("claimed", { batches: 3, seq: 12n });
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      { time: "1970-01-01T00:00:00.000Z", level: "info", name: "engine", message: "claimed", run: "r1", batches: 3, seq: "12" },
    ]);
    expect(lines[0]?.endsWith("\n")).toBe(true);
  });

  it("writes code and causes of errors", () => {
    const { lines, logger } = capture(false);
    logger.error("failed", { error: new OneDataError("store.unavailable", "no database", { cause: new Error("ECONNREFUSED") }) });
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({
      error: { code: "store.unavailable", message: "no database", cause: { message: "ECONNREFUSED" } },
    });
  });

  it.each([true, false])("writes no secrets (pretty: %s)", (pretty) => {
    const { lines, logger } = capture(pretty);
    logger.info("open postgres://ana:hunter2@db/x", {
      clientSecret: "hunter2",
      nested: [{ password: "hunter2", url: "https://u:hunter2@h/" }],
      header: "Bearer hunter2hunter2",
      error: new Error("cannot reach postgres://ana:hunter2@db/x"),
    });
    expect(lines.join("")).not.toContain("hunter2");
    expect(lines.join("")).toContain("[redacted]");
  });

  it("does not throw for what cannot be written as JSON", () => {
    const { lines, logger } = capture(false);
    const cyclic: Record<string, unknown> = {};
    cyclic["self"] = cyclic;
    logger.info("odd", { cyclic, call: () => 1, symbol: Symbol("s"), missing: undefined, bytes: new Uint8Array(3) });
    expect(lines).toHaveLength(1);
  });
});
