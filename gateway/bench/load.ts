/** A load generator on plain sockets: it must cost less than what it measures. One process, many keep-alive connections. */
import { connect, type Socket } from "node:net";

export type LoadResult = {
  readonly requests: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly failed: number;
};

export type LoadOptions = {
  readonly port: number;
  readonly connections: number;
  readonly seconds: number;
  /** One whole request, by number. */
  readonly request: (i: number) => string;
  /** Requests per second, sent on time whatever the answers do; 0 = as fast as answers come. */
  readonly perSecond?: number;
};

export async function runLoad({ port, connections, seconds, request, perSecond = 0 }: LoadOptions): Promise<LoadResult> {
  const latencies: number[] = [];
  let sent = 0;
  let failed = 0;
  let ended = false;
  const free: Connection[] = [];
  const due: number[] = [];
  class Connection {
    readonly socket: Socket = connect({ port, host: "127.0.0.1", noDelay: true });
    startedAt = 0;
    buffered = "";
    send(at: number): void {
      this.startedAt = at;
      this.socket.write(request(sent++));
    }
    take(data: string): void {
      this.buffered += data;
      const head = this.buffered.indexOf("\r\n\r\n");
      if (head < 0) return;
      const length = Number(/content-length: (\d+)/i.exec(this.buffered)?.[1] ?? 0);
      if (this.buffered.length < head + 4 + length) return;
      latencies.push(performance.now() - this.startedAt);
      if (!this.buffered.startsWith("HTTP/1.1 20")) failed += 1;
      this.buffered = "";
      if (ended) return;
      if (perSecond === 0) this.send(performance.now());
      else {
        const waiting = due.shift();
        if (waiting === undefined) free.push(this);
        else this.send(waiting);
      }
    }
  }
  const all = Array.from({ length: connections }, () => new Connection());
  await Promise.all(all.map((c) => new Promise((resolve) => c.socket.once("connect", resolve))));
  for (const connection of all)
    connection.socket
      .setEncoding("latin1")
      .on("data", (data: string) => connection.take(data))
      .on("error", () => (failed += 1));
  const startedAt = performance.now();
  let timer: NodeJS.Timeout | undefined;
  if (perSecond === 0) for (const connection of all) connection.send(performance.now());
  else {
    free.push(...all);
    let scheduled = 0;
    timer = setInterval(() => {
      const now = performance.now();
      // Latency counts from when a request was due, so a slow server cannot hide by delaying the sender.
      for (; scheduled < ((now - startedAt) / 1000) * perSecond; scheduled++) {
        const at = startedAt + (scheduled * 1000) / perSecond;
        const connection = free.pop();
        if (connection === undefined) due.push(at);
        else connection.send(at);
      }
    }, 1);
  }
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  ended = true;
  clearInterval(timer);
  const took = (performance.now() - startedAt) / 1000;
  const requests = latencies.length;
  for (const connection of all) connection.socket.destroy();
  latencies.sort((a, b) => a - b);
  const at = (q: number): number => latencies[Math.min(latencies.length - 1, Math.floor(q * latencies.length))] ?? NaN;
  return { requests, seconds: took, p50Ms: at(0.5), p99Ms: at(0.99), failed };
}
