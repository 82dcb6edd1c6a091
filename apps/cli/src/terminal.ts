/** What the program sees of the world around it; `main.ts` hands it in, so nothing here reads the process. */
import type { Readable, Writable } from "node:stream";

export type Terminal = {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  readonly stderr: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  /** Aborts at Ctrl-C. */
  readonly signal: AbortSignal;
};
