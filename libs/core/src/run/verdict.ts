/**
 * What happened to an event, and the byte that stores it: one per event in `runs.verdicts`.
 * An event's verdict is its last non-zero byte over all attempts.
 */
export type Verdict = { readonly kind: "delivered" } | { readonly kind: "dead" } | { readonly kind: "filtered"; readonly step: number };

export const PENDING = 0;
const DELIVERED = 1;
const DEAD = 2;
/** Filtered at step k of the spec is FILTERED_BASE + k; a spec has at most 100 steps. */
const FILTERED_BASE = 16;

export function toVerdictByte(verdict: Verdict): number {
  switch (verdict.kind) {
    case "delivered":
      return DELIVERED;
    case "dead":
      return DEAD;
    case "filtered":
      return FILTERED_BASE + Math.min(verdict.step, 255 - FILTERED_BASE);
  }
}

/** `undefined` for an event with no final verdict in that attempt. */
export function fromVerdictByte(byte: number): Verdict | undefined {
  if (byte === DELIVERED) return { kind: "delivered" };
  if (byte === DEAD) return { kind: "dead" };
  return byte >= FILTERED_BASE ? { kind: "filtered", step: byte - FILTERED_BASE } : undefined;
}
