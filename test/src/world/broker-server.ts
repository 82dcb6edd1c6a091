/** Brokers for worlds: processes of their own, that can be killed, frozen and wiped. KubeMQ's double is named so; the others are the real ones. */
import { findNatsServer, kubemqProgram, openKubemqDoubleProcess, openKubemqServer, openNatsServer } from "@onedata/broker/testing";

export type BrokerKind = "kubemq double" | "kubemq" | "nats";

export interface BrokerServer extends AsyncDisposable {
  readonly url: string;
  readonly pid: number;
  kill(): Promise<void>;
  /** After `kill`; on the same port, with its store. */
  start(): Promise<void>;
  /** Killed, its store deleted, started. */
  wipe(): Promise<void>;
  freeze(): void;
  thaw(): void;
}

export const BROKER_KINDS: readonly BrokerKind[] = ["kubemq double", "kubemq", "nats"];

/** Why there is none of this kind on this machine, and what to do about it; undefined = there is. */
export function whyNot(kind: BrokerKind): string | undefined {
  if (kind === "kubemq" && kubemqProgram() === undefined) return "skipped: kubemq; set KUBEMQ_SERVER to the path of its program";
  if (kind === "nats" && findNatsServer(process.env["NATS_SERVER"]) === undefined)
    return "skipped: nats; no nats-server here: set NATS_SERVER to its path, or: apt-get install nats-server";
  return undefined;
}

export function openBrokerServer(kind: BrokerKind): Promise<BrokerServer> {
  if (kind === "kubemq") return openKubemqServer({ program: kubemqProgram() ?? "" });
  return kind === "nats" ? openNatsServer() : openKubemqDoubleProcess();
}
