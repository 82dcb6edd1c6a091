/** Faults of the double: each hits the next `times` calls of one kind, then is used up. */
export type FaultPoint =
  | "Ping"
  | "SendQueueMessage"
  | "SendQueueMessagesBatch"
  | "ReceiveQueueMessages"
  | "AckAllQueueMessages"
  | "QueuesInfo"
  | "Get"
  | "AckAll"
  | "CloseByClient"
  | "ActiveOffsets";

export type FaultKind =
  /** The call fails with UNAVAILABLE and nothing was done. */
  | "dropBefore"
  /** Done, but the answer is lost: UNAVAILABLE, or the stream breaks. */
  | "dropReply"
  /** Never answered, nothing done. */
  | "hang"
  /** Done, never answered. */
  | "hangAfter"
  | "delay"
  /** Sends only: item `n` of the batch fails in its own result. */
  | "errorItem"
  /** Sends only: stored twice. */
  | "duplicate"
  /** Sends only: stored in reverse order. */
  | "reorder";

export type Fault = { readonly at: FaultPoint; readonly kind: FaultKind; readonly times?: number; readonly n?: number; readonly delayMs?: number };

export interface Faults {
  add(fault: Fault): void;
  clear(): void;
  /** Takes one use of the first fault of one of these kinds at this point. */
  take(at: string, ...kinds: readonly FaultKind[]): Fault | undefined;
}

export function createFaults(): Faults {
  let waiting: { readonly fault: Fault; left: number }[] = [];
  return {
    add: (fault) => void waiting.push({ fault, left: fault.times ?? 1 }),
    clear: () => {
      waiting = [];
    },
    take(at, ...kinds) {
      const found = waiting.find(({ fault }) => fault.at === at && kinds.includes(fault.kind));
      if (found === undefined) return undefined;
      found.left -= 1;
      if (found.left <= 0) waiting = waiting.filter((other) => other !== found);
      return found.fault;
    },
  };
}
