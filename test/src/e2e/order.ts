/**
 * Order per key over two gateways and two engines: each event of a key is sent after the previous answer, through the gateways in turn. One in a hundred is a
 * dead letter, which holds nobody; transform, load and an engine are killed meanwhile. Afterwards each key's rows stand in the order they were sent, once.
 */
import { readFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { join } from "node:path";
import { waitFor } from "../world/wait-for.ts";
import { openWorld, type World } from "../world/world.ts";
import { createRandom, type E2eOptions, type Outcome, sleep } from "./outcome.ts";

const TABLE = "e2e_order";
const PIPELINE = "e2e-order";
const SENDERS = 48;
const DRAIN_MS = 180_000;
const TRY_TIMEOUT_MS = 5_000;
const RETRY_MS = 50;
const VICTIMS = ["transform", "load", "engine-2"];
const PAUSE_BETWEEN_KILLS_MS = 3_000;

export async function order(options: E2eOptions): Promise<Outcome> {
  await using world = await openWorld("cluster", {
    env: { ONEDATA_ENGINES: "2", ONEDATA_GATEWAYS: "2", ONEDATA_RESTART: "true", ONEDATA_LEASE_MS: "3000" },
  });
  await applyPipeline(world);
  const gateways = [world.url, readUrl(world, "gateway-2")];
  const random = createRandom(options.seed);
  const keys = Array.from({ length: options.keys }, (_, i) => `customer-${i}`);
  let [sent, retries, kills, isSending] = [0, 0, 0, true];
  const startedMs = performance.now();

  const waiting = [...keys];
  const sendKeys = async (): Promise<void> => {
    const agent = new Agent({ keepAlive: true });
    for (let key = waiting.pop(); key !== undefined; key = waiting.pop()) {
      for (let i = 0; i < options.perKey; i++) {
        const body = JSON.stringify({ key, i, bad: random() < 0.01 });
        for (let tries = 0; !(await post(agent, gateways[(i + tries) % 2] ?? world.url, world, body, `${key}/${i}`)); tries++) {
          retries += 1;
          await sleep(RETRY_MS);
        }
        sent += 1;
      }
    }
    agent.destroy();
  };
  const killInTurn = async (): Promise<void> => {
    while (isSending) {
      await sleep(PAUSE_BETWEEN_KILLS_MS);
      const name = VICTIMS[kills % VICTIMS.length];
      const pid = world.processes.find((process) => process.name === name)?.pid;
      if (!isSending || pid === undefined) continue;
      try {
        process.kill(pid, "SIGKILL");
        kills += 1;
        options.progress(`${name} killed; ${sent} of ${options.keys * options.perKey} sent`);
      } catch {
        // It is on its way up from the last time.
      }
    }
  };
  const killing = killInTurn();
  await Promise.all(Array.from({ length: SENDERS }, sendKeys));
  isSending = false;
  await killing;
  const sentMs = performance.now() - startedMs;
  const countQueued = async (): Promise<number> =>
    (await world.platform<{ n: number }[]>`select coalesce(sum(n), 0)::int n from onedata.queue`)[0]?.n ?? 0;
  await waitFor("drained", countQueued, (left) => left === 0, DRAIN_MS).catch(() => undefined);
  return await report(world, options, { sentMs, retries, kills, queued: await countQueued() });
}

async function applyPipeline(world: World): Promise<void> {
  await world.warehouse.unsafe(
    `create table ${TABLE} (position bigint generated always as identity, key text, i int, bad boolean); alter table ${TABLE} owner to warehouse`,
  );
  const answer = await world.api.send("PUT", `/v1/pipelines/${PIPELINE}`, {
    name: PIPELINE,
    input: { ordering: "key" },
    steps: [{ id: "valid", use: "record.validate", with: { schema: { properties: { bad: { const: false } } } } }],
    sinks: [{ use: "postgres.insert", with: { connection: "warehouse", table: TABLE } }],
  });
  if (answer.status !== 200) throw new Error(`the pipeline was not applied: ${answer.text}`);
}

function readUrl(world: World, name: string): string {
  const line = readFileSync(join(world.home, "logs", `${name}.log`), "utf8")
    .split("\n")
    .find((text) => text.includes('"message":"ready"'));
  const { url } = JSON.parse(line ?? "{}") as { url?: string };
  if (url === undefined) throw new Error(`${name} did not say where it is`);
  return url;
}

/** Whether it was acknowledged. */
function post(agent: Agent, url: string, { api }: World, body: string, key: string): Promise<boolean> {
  return new Promise((resolve) => {
    const headers = {
      authorization: `Bearer ${api.token}`,
      "content-type": "application/json",
      "content-length": Buffer.byteLength(body),
      "idempotency-key": key,
    };
    const sending = request(
      new URL(`/v1/pipelines/${PIPELINE}/events`, url),
      { method: "POST", agent, headers, timeout: TRY_TIMEOUT_MS },
      (response) => {
        response.resume();
        response.on("end", () => resolve((response.statusCode ?? 0) >= 200 && (response.statusCode ?? 0) < 300));
        response.on("error", () => resolve(false));
      },
    );
    sending.on("timeout", () => sending.destroy());
    sending.on("error", () => resolve(false));
    sending.on("close", () => resolve(false));
    sending.end(body);
  });
}

async function report(
  world: World,
  { keys, perKey, seed }: E2eOptions,
  { sentMs, retries, kills, queued }: { readonly sentMs: number; readonly retries: number; readonly kills: number; readonly queued: number },
): Promise<Outcome> {
  const rows = await world.warehouse.unsafe<{ rows: number; keys: number; distinct: number; disordered: number }[]>(`
    select count(*)::int rows, count(distinct key)::int keys, count(distinct (key, i))::int "distinct",
           count(*) filter (where i <= before)::int disordered
      from (select key, i, lag(i) over (partition by key order by position) as before from ${TABLE}) x`);
  const [found = { rows: 0, keys: 0, distinct: 0, disordered: 0 }] = rows;
  const letters = await world.platform<{ code: string; n: number }[]>`
    select d.code, count(*)::int n from onedata.dead_letters d join onedata.pipelines p on p.id = d.pipeline_id where p.name = ${PIPELINE} group by 1`;
  const engines = await world.platform<{ n: number }[]>`select count(distinct engine)::int n from onedata.runs`;
  const dead = letters.reduce((sum, { n }) => sum + n, 0);
  const sent = keys * perKey;
  const ok =
    found.disordered === 0 &&
    found.rows === found.distinct &&
    found.rows + dead === sent &&
    queued === 0 &&
    letters.every(({ code }) => code === "record.invalid");
  const lines: readonly (readonly [string, number | string])[] = [
    ["events sent, one after another per key", sent],
    ["keys", keys],
    ["rows in the sink", found.rows],
    ["  different events", found.distinct],
    ["  behind a later one of their key", found.disordered],
    [`dead letters (${letters.map(({ code }) => code).join(", ")})`, dead],
    ["left in the queue", queued],
    ["engines that ran them, restarts counted", engines[0]?.n ?? 0],
    ["kills of transform, load, an engine", kills],
    ["tries that failed and were repeated", retries],
  ];
  const text = lines.map(([what, n]) => `${what.padEnd(44)} ${String(n).padStart(8)}`).join("\n");
  return { ok, text: `${text}\nsent in ${(sentMs / 1000).toFixed(1)} s; seed ${seed}\n${ok ? "IN ORDER" : "NOT IN ORDER, OR NOT COMPLETE"}` };
}
