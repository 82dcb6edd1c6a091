/**
 * The sender process. `sender.ts send <order>` sends single events, `sender.ts import <order>` streams NDJSON; the outcome is a JSON line on stdout.
 * A process of its own, so that its CPU is counted apart from what it measures.
 * Invariant: in the open loop a delay counts from when an event was due, not from when a connection was free (no coordinated omission).
 */
import { once } from "node:events";
import { request } from "node:http";
import { Connection } from "./connection.ts";
import { nowMs, toBody, toHead } from "./request-template.ts";
import { type Imported, type ImportOrder, type SendOrder, type Sent, toPercentiles } from "./sender-protocol.ts";

const GIVE_UP_MS = 15_000;
const report = (line: Sent | Imported | { readonly kind: "measuring" }): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

async function send(order: SendOrder): Promise<void> {
  const heads = order.paths.map((path) => toHead(order.target, path));
  const free: Connection[] = [];
  const due: number[] = [];
  const acceptMs: number[] = [];
  const startMs = nowMs();
  const fromMs = startMs + order.warmUpSeconds * 1000;
  const untilMs = fromMs + order.seconds * 1000;
  let [number, inFlight, accepted, refused, mostWaiting, firstRefusal] = [0, 0, 0, 0, 0, ""];

  const dispatch = (connection: Connection, dueMs: number): void => {
    connection.dueMs = dueMs;
    inFlight += 1;
    connection.send((heads[number % heads.length] ?? "") + toBody(order.prefix, number, dueMs));
    number += 1;
  };
  const answered = (connection: Connection, status: number, body: string): void => {
    inFlight -= 1;
    const now = nowMs();
    if (connection.dueMs >= fromMs && connection.dueMs < untilMs) {
      if (status === 202) {
        acceptMs.push(now - connection.dueMs);
        if (now < untilMs) accepted += 1;
      } else {
        refused += 1;
        if (firstRefusal === "") firstRefusal = `${status} ${body.slice(0, 300)}`;
      }
    }
    if (order.ratePerSecond === undefined) {
      if (now < untilMs) dispatch(connection, now);
      return;
    }
    const waiting = due.shift();
    if (waiting === undefined) free.push(connection);
    else dispatch(connection, waiting);
  };
  const lost = (error: Error): void => {
    process.stderr.write(`${error.message}\n`);
    process.exit(1);
  };
  const connections = await Promise.all(Array.from({ length: order.connections }, () => Connection.open(order.target, answered, lost)));

  setTimeout(() => report({ kind: "measuring" }), Math.max(0, fromMs - nowMs()));
  if (order.ratePerSecond === undefined) {
    for (const connection of connections) dispatch(connection, nowMs());
    await sleepUntil(untilMs);
  } else {
    free.push(...connections);
    const everyMs = 1000 / order.ratePerSecond;
    let next = nowMs();
    while (next < untilMs) {
      for (const now = nowMs(); next <= now; next += everyMs) {
        const connection = free.shift();
        if (connection === undefined) due.push(next);
        else dispatch(connection, next);
      }
      mostWaiting = Math.max(mostWaiting, due.length);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
  for (const deadline = nowMs() + GIVE_UP_MS; (inFlight > 0 || due.length > 0) && nowMs() < deadline; ) await sleepUntil(nowMs() + 5);
  for (const connection of connections) connection.close();
  report({
    kind: "done",
    accepted: order.ratePerSecond === undefined ? accepted : acceptMs.length,
    refused: refused + inFlight + due.length,
    ...(firstRefusal === "" ? {} : { firstRefusal }),
    seconds: order.seconds,
    acceptMs: toPercentiles(acceptMs),
    mostWaiting,
  });
}

const LINES_PER_WRITE = 400;

async function importRecords({ target, path, prefix, records }: ImportOrder): Promise<void> {
  report({ kind: "measuring" });
  const startMs = nowMs();
  const headers = { authorization: `Bearer ${target.token}`, "content-type": "application/x-ndjson" };
  const upload = request({ host: target.host, port: target.port, method: "POST", path, headers });
  const answered = once(upload, "response");
  answered.catch(() => undefined);
  for (let number = 0; number < records; ) {
    let lines = "";
    const sentMs = nowMs();
    for (const end = Math.min(records, number + LINES_PER_WRITE); number < end; number++) lines += `${toBody(prefix, number, sentMs)}\n`;
    if (!upload.write(lines, "latin1")) await Promise.race([once(upload, "drain"), answered]);
  }
  upload.end();
  const [response] = await answered;
  let answer = "";
  for await (const chunk of response) answer += String(chunk);
  report({ kind: "done", status: response.statusCode, answer, seconds: (nowMs() - startMs) / 1000 });
}

const sleepUntil = (moment: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, Math.max(0, moment - nowMs())));

const [mode, order] = process.argv.slice(2);
if (mode === "import") await importRecords(JSON.parse(order ?? ""));
else await send(JSON.parse(order ?? ""));
