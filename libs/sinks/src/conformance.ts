/** What every sink that writes must do, whatever is behind it. Each sink's `*.conformance.test.ts` runs this over the real thing. */

import type { JsonObject } from "@onedata/core";
import { expect, it } from "vitest";
import type { ConnectionConfig, SinkGroup, SinkRecord, SinkWriter, SourceEvent, WriteContext } from "./sink.ts";

export type SinkHarness = AsyncDisposable & {
  readonly kind: string;
  readonly writer: SinkWriter;
  readonly config: JsonObject;
  readonly connection: ConnectionConfig;
  /** The JSON texts of what is stored now, in any order. */
  stored(): Promise<readonly string[]>;
  /** The same sink behind an address where nobody listens. */
  readonly nowhere: ConnectionConfig;
  /** Effects once; otherwise at least once with a stable key. */
  readonly once: boolean;
};

/** A record that every harness can store, and one that it refuses. */
export const goodJson = (n: number): string => `{"id":${n},"name":"name ${n}","amount":12345678901234567890.${n}1}`;
export const badJson = (n: number): string => `{"id":${n},"name":"bad","amount":"not a number"}`;

export const testContext = (signal: AbortSignal = new AbortController().signal): WriteContext => ({
  installation: "00000000-0000-4000-8000-000000000001",
  runId: "run",
  signal,
});

export const testRecord = (n: number, json: string, source: Partial<SourceEvent> = {}): SinkRecord => {
  const batchId = source.batchId ?? 1n;
  const from = { batchId, seq: source.seq ?? batchId, n: source.n ?? n, generation: source.generation ?? 0 };
  return { n, key: `${from.batchId}-${from.n}-${from.generation}-${n}`, json, timeUnixMs: 1_700_000_000_000, source: from };
};

export const testGroup = (
  harness: Pick<SinkHarness, "kind" | "config" | "connection">,
  records: readonly SinkRecord[],
  rest: Partial<SinkGroup> = {},
): SinkGroup => ({
  kind: harness.kind,
  sinkId: "sink",
  pipeline: "orders",
  version: 1,
  tenant: "tenant",
  config: harness.config,
  configHash: "hash",
  connection: harness.connection,
  records,
  empty: [],
  ...rest,
});

const numbers = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);

export function itKeepsTheSinkContract(open: () => Promise<SinkHarness>): void {
  it("answers every record exactly once and stores its value exactly", async () => {
    await using harness = await open();
    const outcomes = await harness.writer.write(
      [
        testGroup(
          harness,
          numbers(0, 20).map((n) => testRecord(n, goodJson(n))),
        ),
      ],
      testContext(),
    );
    expect([...outcomes.keys()].sort((a, b) => a - b)).toEqual(numbers(0, 20));
    expect(new Set([...outcomes.values()].map((o) => o.kind))).toEqual(new Set(["written"]));
    expect([...(await harness.stored())].sort()).toEqual(numbers(0, 20).map(goodJson).sort());
  });

  it("fails one bad record in 500 alone", async () => {
    await using harness = await open();
    const outcomes = await harness.writer.write(
      [
        testGroup(
          harness,
          numbers(0, 500).map((n) => testRecord(n, n === 321 ? badJson(n) : goodJson(n))),
        ),
      ],
      testContext(),
    );
    expect(outcomes.get(321)).toMatchObject({ kind: "failed", code: "sink.rejected", retryable: false });
    expect([...outcomes.values()].filter((o) => o.kind === "written")).toHaveLength(499);
    expect(new Set(await harness.stored())).toEqual(
      new Set(
        numbers(0, 500)
          .filter((n) => n !== 321)
          .map(goodJson),
      ),
    );
  });

  it("answers sink.unavailable, retryable, while the sink is away, and harms no other group", async () => {
    await using harness = await open();
    const away = testGroup({ ...harness, connection: harness.nowhere }, [testRecord(0, goodJson(0)), testRecord(1, goodJson(1))]);
    const outcomes = await harness.writer.write([away, testGroup(harness, [testRecord(2, goodJson(2))], { sinkId: "other" })], testContext());
    expect(outcomes.get(0)).toMatchObject({ kind: "failed", code: "sink.unavailable", retryable: true });
    expect(outcomes.get(1)).toMatchObject({ kind: "failed", code: "sink.unavailable", retryable: true });
    expect(outcomes.get(2)).toEqual({ kind: "written" });
  });

  it("takes a repeated call for what it is", async () => {
    await using harness = await open();
    const group = testGroup(
      harness,
      numbers(0, 10).map((n) => testRecord(n, goodJson(n))),
    );
    await harness.writer.write([group], testContext());
    const again = await harness.writer.write([group], testContext());
    expect(new Set([...again.values()].map((o) => o.kind))).toEqual(new Set([harness.once ? "duplicate" : "written"]));
    if (harness.once) expect(await harness.stored()).toHaveLength(10);
    expect(new Set(await harness.stored()).size).toBe(10);
  });

  it("never shows a secret of the connection", async () => {
    await using harness = await open();
    const outcomes = await harness.writer.write(
      [testGroup({ ...harness, connection: harness.nowhere }, [testRecord(0, goodJson(0)), testRecord(1, badJson(1))])],
      testContext(),
    );
    expect(JSON.stringify([...outcomes])).not.toContain("s3cret");
  });
}
