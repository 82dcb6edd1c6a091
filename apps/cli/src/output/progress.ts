/** One line on stderr that is drawn over again: a bar, figures, a rate. Silent where stderr is no terminal. */
import type { Terminal } from "../terminal.ts";

const BAR = 24;
const REDRAW_MS = 100;

export interface Progress {
  /** `part` is 0…1; undefined draws no bar. */
  show(text: string, part?: number): void;
  clear(): void;
}

export function createProgress({ stderr }: Terminal, isOn: boolean): Progress {
  if (!isOn || stderr.isTTY !== true) return { show: () => undefined, clear: () => undefined };
  let drawnMs = Number.NEGATIVE_INFINITY;
  return {
    show(text, part) {
      const nowMs = performance.now();
      if (nowMs - drawnMs < REDRAW_MS && part !== 1) return;
      drawnMs = nowMs;
      const filled = part === undefined ? 0 : Math.round(Math.min(part, 1) * BAR);
      const bar =
        part === undefined ? "" : `${"█".repeat(filled)}${"░".repeat(BAR - filled)} ${String(Math.floor(Math.min(part, 1) * 100)).padStart(3)}%  `;
      stderr.write(`\r\u001b[2K${`${bar}${text}`.slice(0, Math.max(20, (stderr.columns ?? 80) - 1))}`);
    },
    clear: () => void stderr.write("\r\u001b[2K"),
  };
}
