/**
 * One keep-alive HTTP/1.1 connection on a raw socket, one request in flight: a tenth of the CPU of node's client, which would otherwise be measured too.
 * Non-duty: anything but answers with content-length, which is what the capture route and the ruler send.
 */
import { connect, type Socket } from "node:net";

export class Connection {
  /** What the caller sent last. */
  dueMs = 0;
  readonly #socket: Socket;
  #pending = "";

  private constructor(socket: Socket, onAnswer: (connection: Connection, status: number, body: string) => void, onLost: (error: Error) => void) {
    this.#socket = socket;
    socket.setNoDelay(true).setEncoding("latin1");
    socket.on("data", (text: string) => {
      this.#pending = this.#pending === "" ? text : this.#pending + text;
      const head = this.#pending.indexOf("\r\n\r\n");
      if (head < 0) return;
      const from = this.#pending.indexOf("ontent-length: ") + 15;
      const end = head + 4 + Number.parseInt(this.#pending.slice(from, from + 8), 10);
      if (this.#pending.length < end) return;
      const answer = this.#pending;
      this.#pending = "";
      onAnswer(this, Number.parseInt(answer.slice(9, 12), 10), answer.slice(head + 4, end));
    });
    socket.on("close", () => onLost(new Error("the server closed the connection")));
    socket.on("error", onLost);
  }

  static open(
    { host, port }: { readonly host: string; readonly port: number },
    onAnswer: (connection: Connection, status: number, body: string) => void,
    onLost: (error: Error) => void,
  ): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host, port }, () => resolve(new Connection(socket, onAnswer, onLost)));
      socket.once("error", reject);
    });
  }

  send(request: string): void {
    this.#socket.write(request, "latin1");
  }

  close(): void {
    this.#socket.removeAllListeners("close").removeAllListeners("error");
    this.#socket.on("error", () => undefined);
    this.#socket.destroy();
  }
}
