/**
 * The life of a process: run, stop gracefully on SIGINT, SIGTERM or SIGHUP (its terminal was closed), or when the process that started it over a channel is gone;
 * be forced by a second SIGINT or SIGTERM.
 * Exit codes: 0 stopped as asked; 1 failed; 2 configuration has problems; 130 forced.
 * Invariants: the process ends by itself when `run` has settled and released what it holds; only forcing and failing call exit.
 * Nobody needs to read what it writes: a closed terminal or pipe ends nothing.
 */
import { OneDataError } from "@onedata/core";
import { createLogger, type Logger } from "./logger.ts";

export type RunOptions = {
  readonly logger?: Logger;
  /** After a stop, how long `run` may take to drain before the process is ended all the same. */
  readonly graceMs?: number;
};

/** `run` works until its signal fires, then drains and returns. Never rejects; sets the exit code. */
export async function runUntilSignal(run: (signal: AbortSignal) => Promise<void>, options: RunOptions = {}): Promise<void> {
  const { logger = createLogger({ name: "onedata" }), graceMs = 30_000 } = options;
  const controller = new AbortController();
  let forced: NodeJS.Timeout | undefined;
  const stop = (why: string): void => {
    if (controller.signal.aborted) return;
    logger.info(`${why}: draining; SIGINT or SIGTERM ends at once`);
    controller.abort();
    forced = setTimeout(() => {
      logger.error(`draining took longer than ${graceMs} ms: ending now`);
      process.exit(1);
    }, graceMs);
    forced.unref();
  };
  const onSignal = (name: NodeJS.Signals): void => {
    if (controller.signal.aborted) {
      logger.warn(`${name} while draining: ending now; what was not finished is taken up after the next start`);
      process.exit(130);
    }
    stop(name);
  };
  // A closed terminal says it more than once, and nobody asks for haste: it never forces.
  const onHangUp = (): void => stop("SIGHUP");
  const onOrphaned = (): void => stop("the process that started this one is gone");
  const onUnhandled = (error: unknown): void => {
    logger.error("an error that nobody handled; the process ends, because its state is unknown", { error });
    process.exit(1);
  };
  process.stdout.on("error", () => undefined);
  process.stderr.on("error", () => undefined);
  process
    .on("SIGINT", onSignal)
    .on("SIGTERM", onSignal)
    .on("SIGHUP", onHangUp)
    .on("uncaughtException", onUnhandled)
    .on("unhandledRejection", onUnhandled);
  if (process.send !== undefined) {
    process.once("disconnect", onOrphaned);
    process.channel?.unref();
    if (!process.connected) onOrphaned();
  }
  try {
    await run(controller.signal);
  } catch (error) {
    const known = OneDataError.from(error);
    if (known.code === "config.problems") {
      // For the person at the terminal, not for a collector.
      process.stderr.write(`${known.message}\n`);
      process.exit(2);
    }
    // Whatever a run makes of its own abort is not a failure.
    if (!(controller.signal.aborted && known.code === "aborted")) {
      logger.error("the process failed", { error });
      process.exit(1);
    }
  } finally {
    clearTimeout(forced);
    process.off("disconnect", onOrphaned);
    process
      .off("SIGINT", onSignal)
      .off("SIGTERM", onSignal)
      .off("SIGHUP", onHangUp)
      .off("uncaughtException", onUnhandled)
      .off("unhandledRejection", onUnhandled);
  }
}
