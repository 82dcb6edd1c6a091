/** Checks the records of a chunk against the pipeline: events to capture, and lines rejected with their reason. */
import { type Json, OneDataError } from "@onedata/core";
import type { StreamItem } from "@onedata/formats";
import type { CaptureEvent, RejectedLine } from "@onedata/store";
import { type CapturePipeline, toOrderingKey } from "../capture/pipelines.ts";

export type Prepared = { readonly events: readonly CaptureEvent[]; readonly rejects: readonly RejectedLine[]; readonly bytes: number };

export async function prepareChunk(items: readonly StreamItem[], pipeline: CapturePipeline): Promise<Prepared> {
  const { schema, ordering } = pipeline;
  const events: CaptureEvent[] = [];
  const rejects: RejectedLine[] = [];
  const clock = { timeUnixMs: Date.now() };
  let bytes = 0;
  const reject = (item: StreamItem, code: string, message: string, raw: string): void => {
    rejects.push({ line: BigInt(item.line), byteOffset: BigInt(item.byteEnd), code, message, raw });
  };
  for (const item of items) {
    if (item.kind === "reject") {
      reject(item, item.code, item.message, item.excerpt);
      continue;
    }

    const size = Buffer.byteLength(item.text);
    if (schema === undefined && ordering === undefined) {
      events.push({ payload: item.text, bytes: size });
      bytes += size;
      continue;
    }
    try {
      const value: Json = item.value;
      const violations = schema?.(value);
      if (violations !== undefined && violations.length > 0) {
        reject(
          item,
          "capture.schema_mismatch",
          violations
            .slice(0, 5)
            .map(({ pointer, detail }) => `${pointer === "" ? "/" : pointer} ${detail}`)
            .join("; "),
          item.text.slice(0, 200),
        );
        continue;
      }
      if (ordering === undefined) events.push({ payload: item.text, bytes: size });
      else {
        const key = ordering.evaluateSync === undefined ? ordering.evaluate(value, clock) : ordering.evaluateSync(value, clock);
        events.push({ payload: item.text, bytes: size, orderingKey: toOrderingKey(key instanceof Promise ? await key : key) });
      }
      bytes += size;
    } catch (error) {
      const known = OneDataError.from(error);
      if (known.code === "internal") throw error;
      reject(item, known.code, known.message, item.text.slice(0, 200));
    }
  }
  return { events, rejects, bytes };
}
