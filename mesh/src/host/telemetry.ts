/** The traces of a process, from its configuration: which settings there are, and what is said about spans that had to be dropped. */
import { readFileSync } from "node:fs";
import { openTelemetry, type Telemetry } from "@onedata/telemetry";
import { type ConfigOf, setting } from "./config.ts";
import type { Logger } from "./logger.ts";

/** One in twenty: costs nothing that can be measured. All of them (1) are for who decides later, in a collector, which to keep; see docs/telemetry.md. */
const DEFAULT_RATIO = 0.05;

export const telemetrySettings = {
  otlp: setting.also(
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    setting.optional(
      setting.text({ doc: "where traces go, OTLP over HTTP, e.g. http://collector:4318; without it there are none", pattern: /^https?:\/\// }),
    ),
  ),
  traceRatio: setting.also(
    "OTEL_TRACES_SAMPLER_ARG",
    setting.number({
      doc: "share of the traces that begin here which is kept; callers' own are kept as they say",
      default: DEFAULT_RATIO,
      min: 0,
      max: 1,
    }),
  ),
};

export type TelemetrySettings = ConfigOf<typeof telemetrySettings>;

export const NO_TELEMETRY: TelemetrySettings = { otlp: undefined, traceRatio: 0 };

export const openProcessTelemetry = ({ otlp, traceRatio }: TelemetrySettings, log: Pick<Logger, "warn">): Promise<Telemetry> =>
  openTelemetry({
    version: otlp === undefined ? "" : readVersion(),
    endpoint: otlp,
    sampleRatio: traceRatio,
    onDropped: (figures) => log.warn("spans were dropped: their receiver is away, or slower than they come", { ...figures }),
  });

/** All packages of the product have one version. */
function readVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  return typeof manifest === "object" && manifest !== null && "version" in manifest ? String(manifest.version) : "";
}
