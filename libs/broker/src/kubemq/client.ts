/**
 * `kubemq-js` 1.2.3 with the cures it needs. Sending goes through its own `batch()`; the rest are calls on its connection.
 *
 * What it gets wrong, and what is done here:
 * - string bodies are taken as base64, tags make every send fail: bodies are bytes, tags are never set;
 * - `ping` and `pull` have no deadline and cannot be cancelled: own calls with a deadline; `batch()` takes its deadline from `callOptions()`, overridden here;
 * - the channel has no options (4 MiB receive limit) and `caCert` is ignored: the connection is replaced by one made here;
 * - `transaction()` may never settle, and lost and doubled messages: never used;
 * - a rejected message resolves: `isError` is read for each item.
 * No keepalive below five minutes: the server answers eager pings with GOAWAY. So a call that meets its deadline renews the connection; that is how a half-open one is noticed.
 */
import { Client, type ClientDuplexStream, credentials, type ServiceError, status } from "@grpc/grpc-js";
import { QueuesClient } from "kubemq-js";
import { kubemqClient } from "kubemq-js/lib/protos/index.js";
import type { ServerAddress } from "../broker-url.ts";
import { unavailable } from "../unavailable.ts";
import { type DownstreamRequest, type DownstreamResponse, empty, kubemqService, type QueueInfo, queuesInfoRequest } from "./messages.ts";

const OPTIONS = {
  "grpc.max_receive_message_length": 32 << 20,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 2_000,
  // Shared subchannels would hand a renewed client the connection it wants to get rid of.
  "grpc.use_local_subchannel_pool": 1,
  "grpc.keepalive_time_ms": 360_000,
};
const STREAM_LIFE_MS = 360_000;

export class KubemqClient extends QueuesClient {
  readonly #address: ServerAddress;
  readonly #clientName: string;
  #connection: Client;
  #batchTimeoutMs = 10_000;

  constructor(address: ServerAddress, clientName: string) {
    const target = `${address.host}:${address.port}`;
    super({ address: target, clientId: clientName, ...(address.token === undefined ? {} : { authToken: address.token }) });
    this.#address = address;
    this.#clientName = clientName;
    this.#connection = this.#connect();
  }

  /** One result per body: undefined, or why the server refused it. Throws when the call as a whole failed. */
  async sendAll(channel: string, bodies: readonly Uint8Array[], timeoutMs: number): Promise<readonly (string | undefined)[]> {
    this.#batchTimeoutMs = timeoutMs;
    // Read synchronously by batch().
    const sent = this.batch(bodies.map((body) => ({ channel, clientId: this.#clientName, body }))).catch((error: unknown) => {
      throw this.#failed(error);
    });
    const results = await sent;
    return bodies.map((_, n) => {
      const result = results[n];
      if (result === undefined) return "the server gave no result for this message";
      return result.isError ? result.error : undefined;
    });
  }

  async pingServer(timeoutMs: number): Promise<{ readonly host: string; readonly version: string; readonly serverStartTime: bigint }> {
    return await this.#call(kubemqService.ping, empty.of(), timeoutMs);
  }

  /** Undefined for a queue that does not exist. */
  async queueInfo(channel: string, timeoutMs: number): Promise<QueueInfo | undefined> {
    const answer = await this.#call(kubemqService.queuesInfo, queuesInfoRequest.of({ queueName: channel }), timeoutMs);
    return answer.info?.queues.find((queue) => queue.name === channel);
  }

  openDownstream(): ClientDuplexStream<DownstreamRequest, DownstreamResponse> {
    const { path, requestSerialize, responseDeserialize } = kubemqService.queuesDownstream;
    return this.#connection.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, this.getMetadata(), {
      deadline: Date.now() + STREAM_LIFE_MS,
    });
  }

  /** The next call makes a new connection; calls under way keep the old one. */
  renew(): void {
    const old = this.#connection;
    this.#connection = this.#connect();
    old.close();
  }

  override close(): void {
    this.#connection.close();
  }

  protected override callOptions(): { deadline: number } {
    return { deadline: Date.now() + this.#batchTimeoutMs };
  }

  #connect(): Client {
    const { host, port, tls } = this.#address;
    const security = tls === undefined ? credentials.createInsecure() : credentials.createSsl(tls.ca === undefined ? null : Buffer.from(tls.ca));
    const connection: Client = new kubemqClient(`${host}:${port}`, security, OPTIONS);
    // The one its constructor made has never been used; `grpcClient` is what batch() calls.
    (this.grpcClient as Client).close();
    this.grpcClient = connection;
    return connection;
  }

  #call<Q, R>(
    method: { readonly path: string; readonly requestSerialize: (value: Q) => Buffer; readonly responseDeserialize: (bytes: Uint8Array) => R },
    request: Q,
    timeoutMs: number,
  ): Promise<R> {
    const { path, requestSerialize, responseDeserialize } = method;
    return new Promise((done, failed) => {
      const deadline = { deadline: Date.now() + timeoutMs };
      this.#connection.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, this.getMetadata(), deadline, (error, answer) => {
        if (error !== null || answer === undefined) failed(this.#failed(error));
        else done(answer);
      });
    });
  }

  #failed(error: unknown): Error {
    const { code, details } = (error ?? {}) as Partial<ServiceError>;
    if (code === status.DEADLINE_EXCEEDED) {
      this.renew();
      return unavailable("kubemq does not answer", error);
    }
    // The client appends a note on the name's resolution, also when there is none.
    const reason = (details ?? (error instanceof Error ? error.message : "no answer")).replace(/\s*Resolution note:\s*$/, "");
    return unavailable(`kubemq: ${reason}`, error);
  }
}
