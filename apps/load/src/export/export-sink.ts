/**
 * Exports one sink until it is stopped: takes its lock, writes page after page, tells the database how far finished files reach, starts anew after a failure.
 * Invariant: a file counts only right after the database has confirmed the lock; and who gets a lock waits a while before it touches the folder,
 * so that an exporter whose connection was cut in that very moment is through with its last file.
 */
import { type Clock, OneDataError } from "@onedata/core";
import { type Logger, sleep } from "@onedata/mesh";
import { createExporter, type FileSinkConfig, readFileConfig } from "@onedata/sinks";
import type { ExportSession, FileSink } from "@onedata/store";
import type { Limit } from "./limit.ts";

export type SinkTask = {
  readonly session: ExportSession;
  readonly sink: FileSink;
  /** The tenant's folder. */
  readonly root: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly limit: Limit;
  readonly pacing: {
    readonly pollMs: number;
    readonly mostPollMs: number;
    readonly retryMs: number;
    readonly mostRetryMs: number;
    readonly takeOverMs: number;
  };
  /** Finish what is there, and end. */
  readonly stop: AbortSignal;
  /** End. */
  readonly hardStop: AbortSignal;
};

/** Never rejects. */
export async function exportSink(task: SinkTask): Promise<void> {
  const { sink, pacing, log, stop } = task;
  const at = { pipeline: sink.pipeline, sink: sink.sinkId, tenant: sink.tenant, path: sink.path };
  let failures = 0;
  const worked = (): void => {
    if (failures > 0) log.info("files are written again", at);
    failures = 0;
  };
  for (;;) {
    try {
      const outcome = await exportUnderLock(task, worked);
      if (outcome === "done" || stop.aborted) return;
      await sleep(pacing.mostPollMs, stop);
    } catch (error) {
      if (task.hardStop.aborted) return log.warn("stopped before the last file was finished; the next start writes it", { ...at, error });
      failures += 1;
      const pauseMs = Math.min(pacing.retryMs * 2 ** (failures - 1), pacing.mostRetryMs);
      log.warn(isDiskFull(error) ? "the disk is full: files wait until there is room" : "could not write files; trying again", {
        ...at,
        pauseMs,
        error,
      });
      // On its way out it tries no more: nothing is lost, the next start reads from the last finished file on.
      if (stop.aborted) return;
      await sleep(pauseMs, stop);
    }
  }
}

async function exportUnderLock(task: SinkTask, worked: () => void): Promise<"done" | "elsewhere"> {
  const { session, sink, stop, hardStop, limit, pacing } = task;
  const lock = await session.lock(sink);
  if (lock === undefined) return "elsewhere";
  try {
    await sleep(pacing.takeOverMs, hardStop);
    await lock.assertHeld();
    const exporter = await createExporter({
      config: configOf(sink),
      root: task.root,
      name: `${sink.pipeline}.${sink.sinkId}`,
      read: lock.read,
      assertTurn: () => lock.assertHeld(),
      clock: task.clock,
    });
    let reported: string | undefined;
    const report = async (): Promise<void> => {
      const { position } = exporter;
      if (position !== undefined && position !== reported) await lock.report(position);
      reported = position;
    };
    try {
      await report();
      let idleMs = pacing.pollMs;
      while (!stop.aborted) {
        const state = await limit(() => exporter.step(hardStop));
        await report();
        worked();
        idleMs = state === "busy" ? pacing.pollMs : Math.min(idleMs * 2, pacing.mostPollMs);
        if (state === "idle") await sleep(idleMs, stop);
      }
      while ((await limit(() => exporter.step(hardStop))) === "busy");
      hardStop.throwIfAborted();
      await limit(() => exporter.close());
      await report();
      return "done";
    } finally {
      await exporter.abandon();
    }
  } finally {
    try {
      await lock[Symbol.asyncDispose]();
    } catch {
      // With its connection gone the lock is gone too.
    }
  }
}

function configOf({ kind, config }: FileSink): FileSinkConfig {
  if (kind === "file.ndjson" || kind === "file.csv") return readFileConfig(kind, config);
  throw new OneDataError("config.invalid", `export: unknown kind of file sink ${JSON.stringify(kind)}; known: file.ndjson, file.csv`);
}

const isDiskFull = (error: unknown): boolean => error instanceof Error && "code" in error && (error.code === "ENOSPC" || error.code === "EDQUOT");
