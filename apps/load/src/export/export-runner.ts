/**
 * Writes the results of file sinks into files, for as long as it runs: finds the sinks, and runs one exporter for each.
 *
 * Duty: who is exported here, in what order of tries, and what is said about failures. Non-duty: what stands in a file (`libs/sinks`), what is read (`libs/store`).
 * Invariants:
 * 1. One exporter per sink over all processes (a lock in the database); all processes of an installation share the folder, which also holds the positions.
 * 2. A failed exporter is made anew after a pause, from the last finished file on: a full disk or a lost database delays files and loses nothing.
 * 3. Stopping, and the end of a sink, finish what is there into a last file. A deleted pipeline is there until its files hold everything: its sinks are finished
 *    again and again until then.
 * 4. An erased tenant's folder goes with it (`erase-folders.ts`).
 */
import { join } from "node:path";
import type { Clock, TenantId } from "@onedata/core";
import { aborted, type Logger, sleep } from "@onedata/mesh";
import { type FileSink, openExportSession, type Store } from "@onedata/store";
import { removeErasedFolders } from "./erase-folders.ts";
import { exportSink, type SinkTask } from "./export-sink.ts";
import { createLimit } from "./limit.ts";

export type ExportRunnerPorts = {
  readonly store: Store;
  /** Every tenant has a folder below it. */
  readonly folder: string;
  readonly log: Logger;
  readonly clock: Clock;
};

export type ExportRunnerOptions = {
  /** How often sinks are looked for. */
  readonly discoverMs?: number;
  /** An exporter that found nothing looks again after this, later and later up to the most. */
  readonly pollMs?: number;
  readonly mostPollMs?: number;
  /** Pause after a failure, doubled up to the most. */
  readonly retryMs?: number;
  readonly mostRetryMs?: number;
  /** Between getting the lock of a sink and touching its folder: more than finishing a file takes (a sync and two renames). */
  readonly takeOverMs?: number;
  /** Pages read and written at a time. */
  readonly concurrency?: number;
  /** How long the last files may take when it stops. */
  readonly drainMs?: number;
};

export interface ExportRunner {
  /** Until aborted. Never rejects: failures are logged and tried again. */
  run(signal: AbortSignal): Promise<void>;
}

type Running = { readonly tenantId: TenantId; readonly stop: AbortController; readonly done: Promise<void>; readonly fingerprint: string };

export function createExportRunner({ store, folder, log, clock }: ExportRunnerPorts, options: ExportRunnerOptions = {}): ExportRunner {
  const {
    discoverMs = 1000,
    pollMs = 250,
    mostPollMs = 2000,
    retryMs = 1000,
    mostRetryMs = 30_000,
    takeOverMs = 1000,
    concurrency = 4,
    drainMs = 10_000,
  } = options;
  const limit = createLimit(concurrency);

  return {
    async run(signal) {
      const session = openExportSession(store);
      const stopped = aborted(signal).then((): FileSink[] => []);
      const hardStop = new AbortController();
      const running = new Map<string, Running>();
      const start = (key: string, sink: FileSink): void => {
        const stop = new AbortController();
        if (sink.isClosing) stop.abort();
        const task: SinkTask = {
          session,
          sink,
          root: join(folder, sink.tenant),
          clock,
          log,
          limit,
          pacing: { pollMs, mostPollMs, retryMs, mostRetryMs, takeOverMs },
          stop: stop.signal,
          hardStop: hardStop.signal,
        };
        const done = exportSink(task).finally(() => running.delete(key));
        running.set(key, { tenantId: sink.tenantId, stop, done, fingerprint: fingerprintOf(sink) });
      };

      const isExporting = (tenantId: TenantId): boolean => [...running.values()].some((one) => one.tenantId === tenantId);
      let erasing = Promise.resolve();
      let failed = false;
      while (!signal.aborted) {
        try {
          // A database that does not answer must not hold up the stop.
          const sinks = await Promise.race([session.readFileSinks(), stopped]);
          if (!signal.aborted) reconcile(sinks, running, start);
          if (failed) log.info("file sinks are looked for again");
          failed = false;
          if (signal.aborted) break;
          erasing = removeErasedFolders({ session, folder, takeOverMs, isExporting, log, signal });
          await Promise.race([erasing, stopped]);
        } catch (error) {
          if (!failed) log.warn("could not look for file sinks; trying again", { error });
          failed = true;
        }
        await sleep(discoverMs, signal);
      }
      const timer = setTimeout(() => hardStop.abort(), drainMs);
      for (const { stop } of running.values()) stop.abort();
      const finished = Promise.all([...running.values()].map(({ done }) => done));
      await Promise.race([finished, aborted(hardStop.signal)]);
      clearTimeout(timer);
      // Whoever still waits for the database fails now.
      hardStop.abort();
      await session[Symbol.asyncDispose]();
      await finished;
      await erasing.catch(() => undefined);
    },
  };
}

/** A sink that is gone is finished; one whose config changed is finished and, once that is done, begun again. */
function reconcile(sinks: readonly FileSink[], running: Map<string, Running>, start: (key: string, sink: FileSink) => void): void {
  const wanted = new Map(sinks.map((sink) => [`${sink.pipelineId} ${sink.sinkId} ${sink.path}`, sink]));
  for (const [key, { stop, fingerprint }] of running) {
    const sink = wanted.get(key);
    if (sink === undefined || fingerprintOf(sink) !== fingerprint) stop.abort();
  }
  for (const [key, sink] of wanted) if (!running.has(key)) start(key, sink);
}

const fingerprintOf = ({ kind, config, isClosing }: FileSink): string => `${kind} ${isClosing} ${JSON.stringify(config)}`;
