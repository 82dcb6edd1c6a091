/**
 * The reconciler's figures as OpenMetrics text (https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md).
 *
 * Written out here and not with `prom-client`: all values come from one result at once, so a registry of mutable gauges, global by default, would have to be
 * kept in step with it; the text format of gauges is these few lines.
 */
import type { Finding, SystemFigures } from "@onedata/store";

export const METRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Gauge = {
  readonly name: string;
  readonly help: string;
  readonly samples: readonly { readonly labels?: Readonly<Record<string, string>>; readonly value: number }[];
};

export function toMetrics(findings: readonly Finding[], figures: SystemFigures | undefined, ageSeconds: number | undefined): string {
  const one = (name: string, help: string, value: number | undefined): Gauge[] => (value === undefined ? [] : [{ name, help, samples: [{ value }] }]);
  const gauges: Gauge[] = [
    {
      name: "onedata_reconcile_findings",
      help: "Things that should not be, per check; 0 is good",
      samples: findings.map(({ check, state, count }) => ({ labels: { check }, value: state === "ok" ? 0 : Math.max(count, 1) })),
    },
    {
      name: "onedata_reconcile_failed",
      help: "1 when the check failed, 0 when it is ok or a warning",
      samples: findings.map(({ check, state }) => ({ labels: { check }, value: state === "failed" ? 1 : 0 })),
    },
    ...one("onedata_reconcile_age_seconds", "Since the last pass of the reconciler, in any control process", ageSeconds),
    ...one("onedata_queue_batches", "Batches in the queue, waiting or running", figures?.queueBatches),
    ...one("onedata_queue_oldest_waiting_seconds", "Age of the oldest batch that waits", figures?.oldestWaitingSeconds),
    ...one("onedata_engines_alive", "Engines with a lease", figures?.enginesAlive),
    ...one("onedata_dead_letters_open", "Open dead letters, counted to ten thousand per pipeline", figures?.deadLettersOpen),
    ...one("onedata_pipelines_blocked", "Pipelines that wait for a service or sink", figures?.pipelinesBlocked),
    ...one("onedata_webhooks_waiting", "Webhook messages that are not delivered yet", figures?.webhooksWaiting),
  ];
  const lines = gauges
    .filter(({ samples }) => samples.length > 0)
    .flatMap(({ name, help, samples }) => [
      `# TYPE ${name} gauge`,
      `# HELP ${name} ${help}`,
      ...samples.map(({ labels = {}, value }) => `${name}${formatLabels(labels)} ${value}`),
    ]);
  return `${[...lines, "# EOF"].join("\n")}\n`;
}

function formatLabels(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(
    ([name, value]) => `${name}="${value.replaceAll(/["\\\n]/g, (mark) => (mark === "\n" ? "\\n" : `\\${mark}`))}"`,
  );
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}
