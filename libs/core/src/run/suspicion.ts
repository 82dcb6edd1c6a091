/**
 * How a batch that services or engines died with is tried again.
 *
 *   crashes   what runs
 *   0, 1      the batch, beside others; after the first crash the halves of its run apart
 *   2         the batch, alone, one such batch at a time per engine: a suspect
 *   3, 4      its first 25, then its first 5 events, the rest later
 *   5, 6      its first event, alone
 *   7         nothing: that event is guilty, and the others start anew
 *
 * All that has to be remembered over a crash is the number. Pieces that go well leave it as it is, so the guilty event is met after three crashes more,
 * wherever it stands; a piece that goes well is final.
 */
const PIECES: readonly number[] = [25, 5, 1, 1];

export const SUSPECT_AFTER = 2;
export const GUILTY_AFTER = SUSPECT_AFTER + 1 + PIECES.length;

/** How many events of the batch run together; 0: its first event has crashed alone often enough. */
export function pieceSize(crashes: number): number {
  if (crashes <= SUSPECT_AFTER) return Number.POSITIVE_INFINITY;
  return PIECES[crashes - SUSPECT_AFTER - 1] ?? 0;
}
