/**
 * What the double's own process writes so that its data survive a kill -9, as the real server's do: one file, appended with write(2), no fsync.
 *   record   length (4 bytes) of what follows; kind (1 byte: 1 appended, 2 acked); then
 *   appended milliseconds (8 bytes, double), the message as in kubemq.proto          acked   sequence (8 bytes, double), the channel
 * A cut-off last record is ignored (the real server refuses to start on one).
 */
import { closeSync, existsSync, openSync, readFileSync, writeSync } from "node:fs";
import { type QueueMessage, queueMessage } from "../messages.ts";

export interface Journal {
  appended(message: QueueMessage, atMs: number): void;
  acked(channel: string, sequence: number): void;
  replay(reader: { appended(message: QueueMessage, atMs: number): void; acked(channel: string, sequence: number): void }): void;
  close(): void;
}

const APPENDED = 1;
const ACKED = 2;
const HEAD_BYTES = 13;

export function openJournal(path: string): Journal {
  const old = existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
  const file = openSync(path, "a");
  const write = (kind: number, figure: number, payload: Buffer): void => {
    const head = Buffer.alloc(HEAD_BYTES);
    head.writeUInt32BE(payload.length + HEAD_BYTES - 4, 0);
    head.writeUInt8(kind, 4);
    head.writeDoubleBE(figure, 5);
    writeSync(file, Buffer.concat([head, payload]));
  };
  return {
    appended: (message, atMs) => write(APPENDED, atMs, queueMessage.encode(message)),
    acked: (channel, sequence) => write(ACKED, sequence, Buffer.from(channel)),
    replay(reader) {
      for (let at = 0; at + HEAD_BYTES <= old.length; ) {
        const end = at + 4 + old.readUInt32BE(at);
        if (end > old.length) return;
        const figure = old.readDoubleBE(at + 5);
        const payload = old.subarray(at + HEAD_BYTES, end);
        if (old.readUInt8(at + 4) === APPENDED) reader.appended(queueMessage.decode(payload), figure);
        else reader.acked(payload.toString(), figure);
        at = end;
      }
    },
    close: () => closeSync(file),
  };
}
