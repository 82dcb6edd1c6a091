/** A disk that really fills up: Postgres on a small tmpfs, captures until it refuses, room again. Needs the right to mount (root). */
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { appendFileSync, chmodSync, mkdtempSync, readFileSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatEventId, toBatchId } from "@onedata/core";
import { type EmbeddedPostgres, keepEmbeddedRunning, migrate, openEmbeddedPostgres } from "@onedata/store";
import { afterEach, describe, expect, it } from "vitest";
import { makePipeline, openWorld, postEvent, type TestClient, type TestWorld, waitFor } from "../testing/world.ts";

const MIB = 1024 * 1024;
const canMount = tryMount();
if (!canMount) process.stdout.write("skipped: the full-disk tests mount a tmpfs, which this user may not; run them as root\n");

type Small = {
  readonly folder: string;
  readonly postgres: EmbeddedPostgres;
  readonly filler: string;
  readonly world: TestWorld;
  readonly client: TestClient;
  readonly pipeline: Awaited<ReturnType<typeof makePipeline>>;
};

describe.skipIf(!canMount)("a database whose disk fills up", () => {
  const undo: (() => unknown)[] = [];
  afterEach(async () => {
    for (const step of undo.splice(0).reverse()) await step();
  });

  async function openSmall(sizeMib: number, options: { guarded: boolean; walMib?: number }): Promise<Small> {
    const folder = mkdtempSync(join(tmpdir(), "onedata-small-disk-"));
    mount(folder, sizeMib);
    undo.push(
      () => rmSync(folder, { recursive: true, force: true }),
      () => spawnSync("umount", ["-l", folder]),
    );
    // Checkpoints in one go: on a busy machine the log else outgrows its share of the disk before the tables fill theirs.
    const settings = {
      max_wal_size: `${options.walMib ?? 32}MB`,
      min_wal_size: "32MB",
      shared_buffers: "32MB",
      checkpoint_completion_target: "0",
    };
    const postgres = await openEmbeddedPostgres({ dataDir: folder, settings });
    undo.push(() => postgres.stop());
    const keeper = keepEmbeddedRunning(postgres, { dataDir: folder, settings }, () => undefined);
    undo.push(() => keeper[Symbol.asyncDispose]());
    await migrate(postgres.url);
    const filler = join(folder, "filler");
    writeFileSync(filler, Buffer.alloc(60 * MIB));
    const database = { url: postgres.url, name: "postgres", [Symbol.asyncDispose]: () => Promise.resolve() };
    const world = await openWorld({ kind: "own" }, options.guarded ? { disk: { folder, minFreeBytes: 48 * MIB } } : {}, database);
    undo.push(() => world[Symbol.asyncDispose]());
    const client = await world.signIn();
    return { folder, postgres, filler, world, client, pipeline: await makePipeline(world, client) };
  }

  /** Random, so that nothing compresses it. */
  const payloadOf = (bytes: number): string => JSON.stringify({ text: randomBytes((bytes * 3) / 4).toString("base64") });

  /** Eight senders at once until every one of them was refused; answers what was acknowledged and the refusals. */
  async function fill({ world, client, pipeline }: Small, bytes = 48 * 1024): Promise<{ ids: string[]; refusals: Response[] }> {
    const ids: string[] = [];
    const refusals: Response[] = [];
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        for (;;) {
          const answer = await postEvent(world.first.url, client, pipeline.name, payloadOf(bytes));
          if (answer.status !== 202) return void refusals.push(answer);
          ids.push(((await answer.json()) as { id: string }).id);
        }
      }),
    );
    return { ids, refusals };
  }

  const stored = async ({ world, pipeline }: Small): Promise<string[]> =>
    (
      await world.store.sql<{ id: bigint; n: number }[]>`
        select e.batch_id as id, e.n from onedata.batches b join onedata.events e on e.batch_id = b.id where b.pipeline_id = ${pipeline.pipelineId}`
    ).map(({ id, n }) => formatEventId({ batchId: toBatchId(id), n }));

  const acceptsAgain = ({ world, client, pipeline }: Small): Promise<Response> =>
    waitFor(
      () => postEvent(world.first.url, client, pipeline.name, payloadOf(1_000)),
      (answer) => answer.status === 202,
      60_000,
    );

  it("refuses captures before the disk is full, lets the backlog be worked off, holds an import up, and goes on when there is room", async () => {
    const small = await openSmall(300, { guarded: true });
    const { world, client, pipeline } = small;
    const upload = httpRequest(`${world.first.url}/v1/pipelines/${pipeline.name}/imports`, {
      method: "POST",
      headers: { "content-type": "application/x-ndjson", "idempotency-key": "held-up", ...client.headers },
    });
    upload.on("error", () => undefined);
    const answered = once(upload, "response");
    answered.catch(() => undefined);
    upload.write('{"i":0}\n');
    await waitFor(
      () => world.store.sql`select 1 from onedata.imports where accepted = 1`,
      (rows) => rows.length === 1,
    );

    const { ids, refusals } = await fill(small);
    expect(ids.length).toBeGreaterThan(500);
    for (const refusal of refusals) {
      expect([refusal.status, Number(refusal.headers.get("retry-after")) > 0]).toEqual([503, true]);
      expect(await refusal.json()).toMatchObject({ code: "capture.disk_full", title: "The storage is nearly full" });
    }
    // Less is free than is kept free, because of another program. Checkpoints of the server's own make room in between.
    await world.store.sql`checkpoint`;
    const crowd = (): void => {
      const { bavail, bsize } = statfsSync(small.folder);
      const room = bavail * bsize - 40 * MIB;
      if (room > 0) appendFileSync(join(small.folder, "other-program"), Buffer.alloc(room));
    };
    await waitFor(
      () => {
        crowd();
        return world.first.gateway.figures.disk;
      },
      (disk) => !disk.open,
    );
    const [fresh] = [
      await fetch(`${world.first.url}/v1/pipelines/${pipeline.name}/imports`, {
        method: "POST",
        body: "1\n",
        headers: { "content-type": "application/x-ndjson", ...client.headers },
      }),
    ];
    expect([fresh.status, ((await fresh.json()) as { code: string }).code]).toEqual([503, "capture.disk_full"]);
    upload.write('{"i":1}\n');
    await waitFor(
      () => {
        crowd();
        return world.store.sql<{ reason: string | null }[]>`select reason from onedata.imports where idempotency_key = 'held-up'`;
      },
      (rows) => rows[0]?.reason?.includes("storage is nearly full") === true,
    );
    // What engines do needs room, and has it: a run row per batch, the queue's rows gone.
    const worked = await world.store.sql.begin(async (tx) => {
      await tx`insert into onedata.runs (batch_id, attempt, run_id, started_at, outcome, verdicts)
        select batch_id, 1, gen_random_uuid(), now(), 'done', '\\x01' from onedata.queue`;
      return (await tx`delete from onedata.queue returning 1`).length;
    });
    expect(worked).toBeGreaterThan(0);
    expect(readFileSync(join(small.folder, "pg/server.log"), "utf8")).not.toMatch(/PANIC|No space left/);
    expect((await stored(small)).filter((id) => ids.includes(id)).sort()).toEqual([...ids].sort());

    rmSync(small.filler);
    rmSync(join(small.folder, "other-program"));
    await acceptsAgain(small);
    upload.end('{"i":2}\n');
    const [response] = (await answered) as [{ statusCode: number; resume(): void }];
    response.resume();
    expect(response.statusCode).toBe(202);
    expect(await world.store.sql`select accepted, state, reason from onedata.imports where idempotency_key = 'held-up'`).toMatchObject([
      { accepted: 3n, state: "received", reason: null },
    ]);
  });

  it("hears of a full disk from the database where it cannot look itself, tries again with one small capture, and loses nothing", async () => {
    const small = await openSmall(210, { guarded: false });
    const { ids, refusals } = await fill(small);
    const codes = await Promise.all(refusals.map(async (refusal) => [refusal.status, ((await refusal.json()) as { code: string }).code]));
    expect(codes).toEqual(refusals.map(() => [503, "capture.disk_full"]));
    const known = await stored(small);
    expect(ids.filter((id) => !known.includes(id))).toEqual([]);
    rmSync(small.filler);
    await acceptsAgain(small);
    const after = await stored(small);
    expect(new Set(after).size).toBe(after.length);
    expect(ids.filter((id) => !after.includes(id))).toEqual([]);
  });

  it("comes back from a WAL that could not grow, when there is room, with everything that was acknowledged", async () => {
    const small = await openSmall(170, { guarded: false, walMib: 512 });
    const { world, client, pipeline } = small;
    const ids: string[] = [];
    let stop = false;
    const sender = (async () => {
      while (!stop) {
        const answer = await postEvent(world.first.url, client, pipeline.name, payloadOf(2_000));
        if (answer.status === 202) ids.push(((await answer.json()) as { id: string }).id);
        else expect(answer.status).toBe(503);
      }
    })();
    await waitFor(
      () => ids.length,
      (count) => count > 50,
    );
    // Fills the disk with WAL alone; the statement dies with the server.
    const { bavail, bsize } = statfsSync(small.folder);
    writeFileSync(join(small.folder, "other-program"), Buffer.alloc(Math.max(0, bavail * bsize - 4 * MIB)));
    for (let i = 0; i < 60; i++) {
      const ended = await world.store.sql`select pg_logical_emit_message(true, 'x', repeat(md5(random()::text), 32000))`.then(
        () => false,
        () => true,
      );
      if (ended) break;
    }
    const log = (): string => readFileSync(join(small.folder, "pg/server.log"), "utf8");
    await waitFor(log, (text) => /PANIC: {2}could not write to file "pg_wal/.test(text), 30_000);
    rmSync(join(small.folder, "other-program"));
    const before = ids.length;
    await waitFor(
      () => ids.length,
      (count) => count > before + 20,
      60_000,
    );
    stop = true;
    await sender;
    const known = await stored(small);
    expect(new Set(known).size).toBe(known.length);
    expect(ids.filter((id) => !known.includes(id))).toEqual([]);
  });
});

function mount(folder: string, sizeMib: number): boolean {
  const { status } = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${sizeMib}m,mode=755`, "tmpfs", folder]);
  if (status === 0) chmodSync(folder, 0o755);
  return status === 0;
}

function tryMount(): boolean {
  const folder = mkdtempSync(join(tmpdir(), "onedata-mount-"));
  const mounted = mount(folder, 1);
  if (mounted) spawnSync("umount", [folder]);
  rmSync(folder, { recursive: true, force: true });
  return mounted;
}
