/**
 * grpc-js method definitions that pass bytes through: encoding is the kernel's. And the two metadata names the adapter itself uses.
 */
import type { MethodDefinition } from "@grpc/grpc-js";

type Raw<RequestStream extends boolean, ResponseStream extends boolean> = MethodDefinition<Uint8Array, Uint8Array> & {
  readonly requestStream: RequestStream;
  readonly responseStream: ResponseStream;
};

export const rawMethod = <RequestStream extends boolean, ResponseStream extends boolean>(
  path: string,
  requestStream: RequestStream,
  responseStream: ResponseStream,
): { readonly call: Raw<RequestStream, ResponseStream> } => ({
  call: {
    path,
    requestStream,
    responseStream,
    requestSerialize: toBuffer,
    requestDeserialize: same,
    responseSerialize: toBuffer,
    responseDeserialize: same,
  },
});

/** Read by gRPC servers in every language. grpc-js keeps it from handlers, hence the second name. */
export const TIMEOUT_HEADER = "grpc-timeout";
export const TIMEOUT_MS_HEADER = "x-onedata-timeout-ms";

/** At most eight digits are allowed, and 0 is not. */
export const toGrpcTimeout = (timeoutMs: number): string => {
  const ms = Math.max(1, Math.ceil(timeoutMs));
  return ms < 1e8 ? `${ms}m` : `${Math.ceil(ms / 1000)}S`;
};

/** A view of the same memory, not a copy. */
const toBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

const same = (bytes: Buffer): Uint8Array => bytes;
