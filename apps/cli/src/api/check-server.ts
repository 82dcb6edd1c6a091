/**
 * What can be known about a server without its help: its name, its port, its certificate, its answer, its clock.
 * Duty: find the first thing that is wrong and say what to do. Non-duty: what the server finds about itself.
 */
import { lookup } from "node:dns/promises";
import { connect as connectTcp, isIP } from "node:net";
import { connect as connectTls } from "node:tls";

export type CheckedState = "ok" | "warning" | "failed";
export type Checked = { readonly check: string; readonly state: CheckedState; readonly detail: string; readonly advice: string };

const TIMEOUT_MS = 5_000;
const DAY_MS = 86_400_000;
const CERTIFICATE_DAYS = 14;
/** Tokens and signatures carry times. */
const SKEW_SECONDS = { warning: 30, failed: 300 };

const ok = (check: string, detail: string): Checked => ({ check, state: "ok", detail, advice: "" });
const failed = (check: string, detail: string, advice: string): Checked => ({ check, state: "failed", detail, advice });

/** In the order of a connection, up to the first that fails. */
export async function* checkServer(address: string, signal: AbortSignal): AsyncGenerator<Checked, void, undefined> {
  if (!URL.canParse(address) || !/^https?:$/.test(new URL(address).protocol)) {
    yield failed("server.url", `${JSON.stringify(address)} is no http or https address`, "set ONEDATA_URL, or run `onedata login` again");
    return;
  }
  const url = new URL(address);
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  const port = url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port);
  for (const look of [
    () => checkName(host),
    () => checkPort(host, port, signal),
    ...(url.protocol === "https:" ? [() => checkCertificate(host, port, signal)] : []),
    () => checkAnswer(url, signal),
  ]) {
    const found = await look();
    yield* found;
    if (found.some(({ state }) => state === "failed")) return;
  }
}

async function checkName(host: string): Promise<Checked[]> {
  if (isIP(host) !== 0) return [];
  try {
    const addresses = await lookup(host, { all: true });
    return [ok("server.name", `${host} is ${addresses.map(({ address }) => address).join(", ")}`)];
  } catch (error) {
    return [
      failed(
        "server.name",
        `${host} cannot be resolved (${codeOf(error)})`,
        "check the spelling, the network and its DNS server; `onedata login` chooses another server",
      ),
    ];
  }
}

async function checkPort(host: string, port: number, signal: AbortSignal): Promise<Checked[]> {
  const startedAt = performance.now();
  try {
    await untilOpen(connectTcp({ host, port }), "connect", signal, () => undefined);
    return [ok("server.port", `port ${port} of ${host} is open (${Math.round(performance.now() - startedAt)} ms)`)];
  } catch (error) {
    const code = codeOf(error);
    const isLocal = host === "localhost" || host === "::1" || host.startsWith("127.");
    const advice =
      code === "ECONNREFUSED"
        ? isLocal
          ? "nobody listens there: `npm start` starts OneData here; if it runs, client.json of its ONEDATA_HOME names its port"
          : "nobody listens there: is the server running, and is this its port?"
        : "no way there: look at the network, the VPN and firewalls in between";
    return [failed("server.port", `port ${port} of ${host} does not answer (${code})`, advice)];
  }
}

async function checkCertificate(host: string, port: number, signal: AbortSignal): Promise<Checked[]> {
  // Looked at, not trusted: nothing is sent over this connection.
  const socket = connectTls({ host, port, rejectUnauthorized: false, ...(isIP(host) === 0 ? { servername: host } : {}) });
  try {
    return await untilOpen(socket, "secureConnect", signal, () => {
      const days = Math.floor((Date.parse(socket.getPeerCertificate().valid_to) - Date.now()) / DAY_MS);
      if (!socket.authorized)
        return [
          failed(
            "server.certificate",
            `the certificate is not trusted: ${String(socket.authorizationError)}`,
            "renew it, or let this machine trust its authority: NODE_EXTRA_CA_CERTS=/path/ca.pem",
          ),
        ];
      if (days < CERTIFICATE_DAYS)
        return [{ check: "server.certificate", state: "warning", detail: `the certificate ends in ${days} days`, advice: "renew it" }];
      return [ok("server.certificate", `the certificate is good for ${days} days (${socket.getProtocol() ?? "TLS"})`)];
    });
  } catch (error) {
    return [
      failed("server.certificate", `no TLS there (${codeOf(error)})`, "does the server speak https on this port? try the address with http://"),
    ];
  }
}

async function checkAnswer(url: URL, signal: AbortSignal): Promise<Checked[]> {
  const get = (path: string): Promise<Response> =>
    fetch(new URL(path, url), { signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]), redirect: "manual" });
  try {
    const startedAt = Date.now();
    const up = await get("/healthz");
    const tookMs = Date.now() - startedAt;
    await up.body?.cancel();
    if (!up.ok)
      return [
        failed(
          "server.answer",
          `/healthz answers ${up.status}`,
          "something else may listen there, or a proxy has no way to OneData: check the address",
        ),
      ];
    const ready = await get("/readyz");
    const text = (await ready.text()).slice(0, 500);
    const clock = checkClock(up.headers.get("date"), startedAt + tookMs / 2);
    const answer = ready.ok
      ? ok("server.ready", `OneData answers in ${tookMs} ms and is ready`)
      : failed("server.ready", `OneData answers, and is not ready: ${text}`, "it waits for its database, or is stopping: look at its log");
    return [...clock, answer];
  } catch (error) {
    return [
      failed(
        "server.answer",
        `no HTTP answer within ${TIMEOUT_MS} ms (${codeOf(error)})`,
        "the process may hang or be starting: look at its log, start it again",
      ),
    ];
  }
}

/** The header has whole seconds. */
function checkClock(date: string | null, atMs: number): Checked[] {
  const server = date === null ? Number.NaN : Date.parse(date) + 500;
  if (Number.isNaN(server)) return [];
  const seconds = Math.round((server - atMs) / 1000);
  const size = Math.abs(seconds);
  const detail =
    size <= 1
      ? "the server's clock agrees with this machine's"
      : `the server's clock is ${size} s ${seconds < 0 ? "behind" : "ahead of"} this machine's`;
  const state = size > SKEW_SECONDS.failed ? "failed" : size > SKEW_SECONDS.warning ? "warning" : "ok";
  return [{ check: "server.clock", state, detail, advice: state === "ok" ? "" : "let both machines keep time (chrony, systemd-timesyncd)" }];
}

type Socket = ReturnType<typeof connectTcp>;

/** Ends the socket in any case. */
async function untilOpen<T>(socket: Socket, event: "connect" | "secureConnect", signal: AbortSignal, read: () => T): Promise<T> {
  try {
    return await new Promise<T>((settle, fail) => {
      const late = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
      late.addEventListener("abort", () => fail(Object.assign(new Error("no answer"), { code: "no answer" })), { once: true });
      socket.once("error", fail);
      socket.once(event, () => {
        try {
          settle(read());
        } catch (error) {
          fail(error);
        }
      });
    });
  } finally {
    socket.on("error", () => undefined);
    socket.destroy();
  }
}

function codeOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  if (!(cause instanceof Error)) return String(cause);
  return "code" in cause && typeof cause.code === "string" ? cause.code : cause.name === "TimeoutError" ? "no answer" : cause.message;
}
