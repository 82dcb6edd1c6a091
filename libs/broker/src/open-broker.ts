/**
 * From a URL to a broker; the scheme picks the adapter, loaded only when it is asked for.
 *   none:                     no broker: engines poll
 *   kubemq://host:50000       ?tls=true&ca=<file>&token=<token> or &tokenFile=<file>; kubemqs:// is kubemq:// with tls=true
 *   nats://host:4222          user:password@ or token@ before the host; ?tls=true&ca=<file>&token=, tokenFile=, stream=<name>
 */
import type { Broker } from "./broker.ts";
import { readBrokerUrl } from "./broker-url.ts";

export type BrokerDeps = {
  /** Names this process to the server; the default is made of the process id. */
  readonly clientName?: string;
  /** For jitter. */
  readonly random?: () => number;
};

/** Connects in the background: no server is needed to open. The caller disposes. `undefined` for `none:`. Throws `config.problems`. */
export async function openBroker(url: string, deps: BrokerDeps = {}): Promise<Broker | undefined> {
  const address = await readBrokerUrl(url);
  const resolved = { clientName: deps.clientName ?? `onedata-${process.pid}`, random: deps.random ?? Math.random };
  switch (address.scheme) {
    case "none":
      return undefined;
    case "kubemq": {
      const { openKubemqBroker } = await import("./kubemq/kubemq-broker.ts");
      return openKubemqBroker(address, resolved);
    }
    case "nats": {
      const { openNatsBroker } = await import("./nats/nats-broker.ts");
      return openNatsBroker(address, resolved);
    }
  }
}
