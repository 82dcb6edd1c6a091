/**
 * What crosses the port between a thread and the worker that serves it.
 * Every call has a number. Streams flow by demand: a side sends one message per `pull`, so neither queue grows.
 */
import type { Metadata } from "../../rpc/metadata.ts";
import type { ServedMethod } from "../../rpc/transport.ts";

export type ToServer =
  | {
      readonly type: "call";
      readonly id: number;
      readonly kind: ServedMethod["kind"];
      readonly path: string;
      readonly metadata: Metadata;
      readonly timeoutMs: number;
      readonly body: Uint8Array;
    }
  | { readonly type: "message"; readonly id: number; readonly body: Uint8Array }
  | { readonly type: "end"; readonly id: number }
  | { readonly type: "pull"; readonly id: number }
  | { readonly type: "cancel"; readonly id: number };

export type ToClient =
  | { readonly type: "ready" }
  | { readonly type: "message"; readonly id: number; readonly body: Uint8Array }
  | { readonly type: "end"; readonly id: number }
  | { readonly type: "pull"; readonly id: number }
  /** An encoded Problem. */
  | { readonly type: "fail"; readonly id: number; readonly problem: Uint8Array };

/** The part of a MessagePort that both sides use. */
export interface Port<Out> {
  postMessage(message: Out, transfer?: readonly ArrayBuffer[]): void;
  on(event: "message", listener: (message: unknown) => void): unknown;
  on(event: "close", listener: () => void): unknown;
  close(): void;
}

/** The memory to move with a message: all of it if the message owns it, else none (it is copied). Whoever sends it must not touch the bytes again. */
export function transferOf(body: Uint8Array): ArrayBuffer[] {
  const { buffer } = body;
  return buffer instanceof ArrayBuffer && buffer.byteLength === body.byteLength ? [buffer] : [];
}
