/** Telemetry over the OpenTelemetry SDK: loaded only where there is somebody to export to. */
import { randomUUID } from "node:crypto";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { AlwaysOnSampler, ParentBasedSampler, TracerProvider } from "@opentelemetry/sdk-trace";
import { createBatchProcessor } from "./batch-processor.ts";
import type { Telemetry, TelemetryLimits, TelemetryOptions, Tracing } from "./port.ts";

/** 8,192 spans are some 16 MiB, and several seconds of a loaded process with every request sampled. */
const LIMITS: TelemetryLimits = { maxQueue: 8_192, maxBatch: 512, delayMs: 1_000, timeoutMs: 5_000 };
const NAMESPACE = "onedata";
/** Nothing of ours is longer; a path may be. */
const MAX_ATTRIBUTE_LENGTH = 1_024;

export function openSdk({ version, sampleRatio, onDropped, limits }: TelemetryOptions, endpoint: string): Telemetry {
  const { timeoutMs, ...batching } = { ...LIMITS, ...limits };
  const exporter = new OTLPTraceExporter({ url: toTracesUrl(endpoint), timeoutMillis: timeoutMs });
  const processor = createBatchProcessor(exporter, { ...batching, timeoutMs, onDropped });
  const instance = randomUUID();
  const tracings = new Map<string, Tracing>();
  return {
    tracing(service) {
      let tracing = tracings.get(service);
      if (tracing === undefined) {
        // A provider for each service, all behind one queue: in solo a trace looks as it does over several processes.
        const provider = new TracerProvider({
          resource: resourceFromAttributes({
            "service.name": `${NAMESPACE}-${service}`,
            "service.namespace": NAMESPACE,
            "service.version": version,
            "service.instance.id": instance,
            "process.pid": process.pid,
          }),
          // Whoever makes a root span here has decided already: by the ratio, or because it links to what is sampled.
          sampler: new ParentBasedSampler({ root: new AlwaysOnSampler() }),
          spanLimits: { attributeValueLengthLimit: MAX_ATTRIBUTE_LENGTH },
          spanProcessors: [processor],
        });
        tracing = { tracer: provider.getTracer(NAMESPACE, version), samples: () => Math.random() < sampleRatio };
        tracings.set(service, tracing);
      }
      return tracing;
    },
    get figures() {
      return processor.figures;
    },
    [Symbol.asyncDispose]: () => processor.shutdown(),
  };
}

/** The standard's variable names the base; who gives the whole address is understood too. */
const toTracesUrl = (endpoint: string): string => (/\/v1\/traces\/?$/.test(endpoint) ? endpoint : `${endpoint.replace(/\/+$/, "")}/v1/traces`);
