/** `--watch`: does it now, and again whenever the file is saved, until Ctrl-C. A problem is shown and waited out. */
import { unwatchFile, watchFile } from "node:fs";
import { Exit } from "../failure.ts";
import type { Session } from "../session.ts";

// Polling sees files that editors replace by rename, on every file system.
const INTERVAL_MS = 300;

export async function onEverySave({ out, signal, report }: Session, path: string, act: () => Promise<void>): Promise<void> {
  let saved: (() => void) | undefined;
  let isDirty = true;
  watchFile(path, { interval: INTERVAL_MS }, () => {
    isDirty = true;
    saved?.();
  });
  const stop = (): void => saved?.();
  signal.addEventListener("abort", stop, { once: true });
  try {
    while (!signal.aborted) {
      if (isDirty) {
        isDirty = false;
        await act().catch((error: unknown) => {
          if (!(error instanceof Exit) && !signal.aborted) report(error);
        });
        out.note(out.noteStyle.dim(`waiting for changes of ${path}; Ctrl-C ends`));
      } else await new Promise<void>((resolve) => (saved = resolve));
    }
  } finally {
    unwatchFile(path);
    signal.removeEventListener("abort", stop);
  }
}
