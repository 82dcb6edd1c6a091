/** Figures as tables for people. */
import type { Figures, Settings } from "./figures.ts";
import type { Percentiles } from "./sender-protocol.ts";

export function describeFigures(all: readonly Figures[], settings: Settings | undefined): string {
  const ruler = all.find(({ name }) => name === "echo")?.acceptedPerSecond;
  const rows = all.map((figures) => {
    const { delivered } = figures;
    const total = Object.values(figures.cpuUs).reduce((sum, us) => sum + us, 0);
    return [
      figures.name,
      figures.where,
      figures.shape,
      whole(figures.acceptedPerSecond),
      delivered === undefined ? "-" : whole(delivered.perSecond),
      ruler === undefined ? "-" : ((delivered?.perSecond ?? figures.acceptedPerSecond) / ruler).toFixed(2),
      delays(figures.acceptMs),
      delays(delivered !== undefined && figures.name !== "import" ? delivered.endToEndMs : undefined),
      whole(total),
      whole(delivered?.eventsPerRun),
      whole(delivered?.eventsPerBatch),
      whole(figures.walBytesPerEvent),
      String(figures.refused),
      `${Math.round(figures.othersBusy * 100)} %`,
    ];
  });
  const heads = [
    "case",
    "where",
    "shape",
    "accepted/s",
    "end to end/s",
    "x ruler",
    "accept ms p50/p99/max",
    "end to end ms p50/p99/max",
    "us/event",
    "events/run",
    "events/batch",
    "WAL B/event",
    "refused",
    "others",
  ];
  const processes = [...new Set(all.flatMap(({ cpuUs }) => Object.keys(cpuUs)))];
  const perProcess = all.map(({ name, where, cpuUs, rssMiB }) => [
    name,
    where,
    ...processes.map((process) =>
      cpuUs[process] === undefined ? "" : `${cpuUs[process].toFixed(cpuUs[process] < 10 ? 1 : 0)} us, ${Math.max(0, ...(rssMiB[process] ?? []))} MiB`,
    ),
  ]);
  return [
    table([heads, ...rows]),
    "CPU microseconds per event and most memory, by process",
    table([["case", "where", ...processes], ...perProcess]),
    ...all.flatMap(({ name, notes }) => notes.map((note) => `${name}: ${note}`)),
    settings === undefined
      ? ""
      : `Settings: ${Object.entries(settings)
          .map(([name, value]) => `${name}=${value}`)
          .join(" ")}; every event validated; traces: context kept for every event, exported in the case telemetry`,
    LEGEND,
  ].join("\n\n");
}

const LEGEND = `accepted/s: answered 202 within the measured time. end to end/s: verdicts over the time from the end of the warm-up to the last of them.
accept ms: from when an event was due. end to end ms: from when it was due until its completion was written (some ms before that commit's fsync).
x ruler: end to end/s by the echo's accepted/s. us/event: CPU of all processes, sender included. others: share of the machine other programs used.`;

const whole = (value: number | undefined): string => (value === undefined ? "-" : Math.round(value).toLocaleString("en"));
const delays = (value: Percentiles | undefined): string =>
  value === undefined ? "-" : [value.p50, value.p99, value.max].map((ms) => (ms < 10 ? ms.toFixed(1) : Math.round(ms))).join("/");

export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => (/^[\d.,-]/.test(cell) ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
