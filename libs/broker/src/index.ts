export {
  type Broker,
  type BrokerHealth,
  type BrokerMessage,
  type ChannelDepth,
  checkChannel,
  type Delivery,
  MAX_BODY_BYTES,
  MAX_RECEIVE,
  type PublishOptions,
  type PublishResult,
  type ReceiveOptions,
  SETTLE_WITHIN_MS,
} from "./broker.ts";
export { redactBrokerUrl } from "./broker-url.ts";
export { type BrokerDeps, openBroker } from "./open-broker.ts";
export { decodePointers, encodePointers, MAX_POINTERS, type Pointer } from "./pointers.ts";
