/** Calls a method by bytes through the mesh's client, so that deadline, retries, caller and identity are those of every other call. No generated code. */

import type { MethodContract } from "@onedata/contracts";
import { type CallOptions, type ClientOptions, createClient, type Transport } from "@onedata/mesh";

const BYTES = {
  $type: "bytes",
  encode: (message: Uint8Array) => ({ finish: () => message }),
  decode: (input: Uint8Array) => input,
  fromPartial: (object: Uint8Array) => object,
};

export function callUnary(
  rpc: MethodContract,
  transport: Transport,
  client: ClientOptions,
  request: Uint8Array,
  call: CallOptions,
): Promise<Uint8Array> {
  const definition = {
    name: rpc.service,
    fullName: rpc.service,
    methods: { call: { name: rpc.name, requestType: BYTES, requestStream: false, responseType: BYTES, responseStream: false, options: {} } },
  } as const;
  return createClient(definition, transport, client).call(request, call);
}

export function callStream(
  rpc: MethodContract,
  transport: Transport,
  client: ClientOptions,
  request: Uint8Array,
  call: CallOptions,
): AsyncIterable<Uint8Array> {
  const definition = {
    name: rpc.service,
    fullName: rpc.service,
    methods: { call: { name: rpc.name, requestType: BYTES, requestStream: false, responseType: BYTES, responseStream: true, options: {} } },
  } as const;
  return createClient(definition, transport, client).call(request, call);
}
