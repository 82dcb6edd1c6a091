/** `/healthz` (the process is up) and `/readyz` (it can work) over plain HTTP, for probes of workloads that serve no HTTP of their own. */
import { createServer, type Server } from "node:http";
import { OneDataError } from "@onedata/core";

export type HealthReport = {
  readonly ready: boolean;
  readonly problems: readonly string[];
  /** What is worth knowing and stops nothing. */
  readonly details?: Readonly<Record<string, string>>;
};

/** What stops the process from working now, by name; empty = ready. Checks are run side by side, each answers its problem or undefined. */
export async function checkReady(checks: { readonly [name: string]: () => Promise<string | undefined> }): Promise<HealthReport> {
  const results = await Promise.all(
    Object.entries(checks).map(async ([name, check]) => {
      try {
        const problem = await check();
        return problem === undefined ? [] : [`${name}: ${problem}`];
      } catch (error) {
        return [`${name}: ${OneDataError.from(error).message}`];
      }
    }),
  );
  const problems = results.flat();
  return { ready: problems.length === 0, problems };
}

export interface HealthServer extends AsyncDisposable {
  /** The real one. */
  readonly port: number;
}

export type Metrics = { readonly contentType: string; readonly text: () => string };

/** `listen` is `host:port`; port 0 takes any free one. With `metrics` it serves `/metrics` too. */
export async function openHealthServer(listen: string, report: () => Promise<HealthReport>, metrics?: Metrics): Promise<HealthServer> {
  const server = createServer((request, response) => {
    const send = (status: number, body: unknown): void => {
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    };
    if (request.url === "/healthz") send(200, { status: "up" });
    else if (request.url === "/readyz")
      report().then(
        (answer) => send(answer.ready ? 200 : 503, answer),
        (error: unknown) => send(503, { ready: false, problems: [OneDataError.from(error).message] }),
      );
    else if (request.url === "/metrics" && metrics !== undefined)
      response.writeHead(200, { "content-type": metrics.contentType }).end(metrics.text());
    else send(404, {});
  });
  const port = await listenOn(server, listen);
  return {
    port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** Listens on `host:port` and answers the real port. Throws `config.problems` if the address cannot be had. */
export function listenOn(server: Server, listen: string): Promise<number> {
  const at = listen.lastIndexOf(":");
  return new Promise((resolve, reject) => {
    server.once("error", (error) => reject(new OneDataError("config.problems", `cannot listen on ${listen}: ${error.message}`, { cause: error })));
    server.listen({ host: listen.slice(0, at).replaceAll(/[[\]]/g, ""), port: Number(listen.slice(at + 1)) }, () => {
      const address = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : 0);
    });
  });
}
