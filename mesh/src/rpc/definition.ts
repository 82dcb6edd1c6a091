/**
 * The shape of ts-proto's generic definitions, and the client and implementation types inferred from them.
 * Inputs are DeepPartial (ts-proto fills in defaults), outputs complete.
 */
import type { CallContext } from "./call-context.ts";
import type { CallOptions } from "./client.ts";

/** The part of a ts-proto codec that the kernel uses. */
export interface Codec {
  readonly $type: string;
  encode(message: unknown): { finish(): Uint8Array };
  decode(input: Uint8Array): unknown;
  fromPartial(object: unknown): unknown;
}

export interface MethodDefinition {
  readonly name: string;
  readonly requestType: Codec;
  readonly requestStream: boolean;
  readonly responseType: Codec;
  readonly responseStream: boolean;
  readonly options: { readonly idempotencyLevel?: "IDEMPOTENT" | "NO_SIDE_EFFECTS" };
}

export interface ServiceDefinition {
  readonly name: string;
  readonly fullName: string;
  readonly methods: { readonly [key: string]: MethodDefinition };
}

type Decoded<C> = C extends { decode(input: Uint8Array): infer T } ? T : never;
type Partially<C> = C extends { fromPartial(object: infer P): unknown } ? P : never;

/** What a server gets, complete. */
export type RequestOf<M extends MethodDefinition> = Decoded<M["requestType"]>;
/** What a client gives. */
export type RequestInit<M extends MethodDefinition> = Partially<M["requestType"]>;
/** What a client gets, complete. */
export type ResponseOf<M extends MethodDefinition> = Decoded<M["responseType"]>;
/** What a server gives. */
export type ResponseInit<M extends MethodDefinition> = Partially<M["responseType"]>;

/** `client.apply({...}, {signal})`; server streams are async iterables. */
export type ClientMethod<M extends MethodDefinition> = M["requestStream"] extends true
  ? (requests: AsyncIterable<RequestInit<M>>, options?: CallOptions) => Promise<ResponseOf<M>>
  : M["responseStream"] extends true
    ? (request: RequestInit<M>, options?: CallOptions) => AsyncIterable<ResponseOf<M>>
    : (request: RequestInit<M>, options?: CallOptions) => Promise<ResponseOf<M>>;

export type Client<D extends ServiceDefinition> = { readonly [K in keyof D["methods"]]: ClientMethod<D["methods"][K]> };

/** What a service implements, one function per method. Throw `OneDataError`; anything else is logged and answered as `internal`. */
export type ImplementationMethod<M extends MethodDefinition> = M["requestStream"] extends true
  ? (requests: AsyncIterable<RequestOf<M>>, context: CallContext) => Promise<ResponseInit<M>>
  : M["responseStream"] extends true
    ? (request: RequestOf<M>, context: CallContext) => AsyncIterable<ResponseInit<M>>
    : (request: RequestOf<M>, context: CallContext) => Promise<ResponseInit<M>>;

export type Implementation<D extends ServiceDefinition> = { readonly [K in keyof D["methods"]]: ImplementationMethod<D["methods"][K]> };
