/** One signal of two, for the time of one call. (`AbortSignal.any` keeps every signal it makes reachable from a long-lived one on Node 20.) */
export function linkSignals(a: AbortSignal, b: AbortSignal): { readonly signal: AbortSignal; readonly unlink: () => void } {
  const controller = new AbortController();
  const abort = (): void => controller.abort();
  if (a.aborted || b.aborted) abort();
  a.addEventListener("abort", abort, { once: true });
  b.addEventListener("abort", abort, { once: true });
  return {
    signal: controller.signal,
    unlink() {
      a.removeEventListener("abort", abort);
      b.removeEventListener("abort", abort);
    },
  };
}
