/** `onedata doctor` as an operator meets it: all well after a crash, what is wrong by name, and what to do when nobody answers. */
import { callCli, readLines } from "@onedata/cli/testing";
import { describe, expect, it } from "vitest";
import { waitFor } from "../world/wait-for.ts";
import { openWorld, type World } from "../world/world.ts";

/** The disk of the machine that tests is no business of theirs. */
const wrong = (stdout: string) => readLines(stdout).filter(({ state, check }) => state !== "ok" && check !== "database.disk");

describe("the doctor", () => {
  it("finds nothing after kill -9 under load, names what is wrong, and helps when nobody answers", async () => {
    const first = await openWorld("solo");
    let second: World | undefined;
    try {
      const sent = Promise.allSettled(
        Array.from({ length: 200 }, (_, i) => first.api.send("POST", "/v1/pipelines/orders/events", { id: i, price: 1, quantity: 1 })),
      );
      await waitFor(
        "something delivered",
        async () => (await first.warehouse`select count(*)::int as n from orders`)[0]?.["n"] ?? 0,
        (n) => Number(n) > 0,
      );
      await first.kill();
      await sent;
      second = await openWorld("solo", { home: first.home });
      const world = second;
      const doctor = (...args: string[]) => callCli(["doctor", ...args], { env: { ONEDATA_HOME: world.home } });
      await waitFor(
        "worked off",
        async () => (await world.platform`select count(*)::int as n from onedata.queue`)[0]?.["n"],
        (n) => n === 0,
        60_000,
      );
      const healthy = await doctor("--deep", "--json");
      expect({ code: healthy.code, wrong: wrong(healthy.stdout), stderr: healthy.stderr }).toEqual({ code: 0, wrong: [], stderr: "" });
      // A day after the first start a missing backup is shown without being asked for, and is no failure.
      await world.platform`update onedata.tenants set created_at = created_at - interval '2 days'`;
      const aged = await doctor();
      await world.platform`update onedata.tenants set created_at = created_at + interval '2 days'`;
      expect(aged.code).toBe(0);
      expect(aged.stdout).toMatch(/^warning +database\.backup +there is no backup.*\n +→ run `onedata backup <folder>`/m);
      expect(readLines(healthy.stdout).map(({ check }) => check)).toEqual(
        expect.arrayContaining(["server.ready", "client.token", "engines.alive", "queue.orphaned_runs", "database.schema", "ledger.missing_effects"]),
      );

      await world.platform`insert into onedata.queue (batch_id, seq, lane_id, n, bytes, available_at) select 7, 7, min(id), 1, 1, now() + interval '1 hour' from onedata.lanes`;
      const ill = await doctor();
      expect(ill.code).toBe(1);
      expect(ill.stdout).toMatch(
        /^failed {3}queue\.missing_events +1 of 1000 looked at in the queue have no batch or no events\n +→ .+\n +e\.g\. evt_7_0$/m,
      );
      await world.platform`delete from onedata.queue where batch_id = 7`;

      const reader = (await world.api.send("POST", "/v1/clients", { name: "reader", scopes: ["events:read"] })).json;
      const asReader = { ONEDATA_URL: world.url, ONEDATA_CLIENT_ID: reader.clientId, ONEDATA_CLIENT_SECRET: reader.clientSecret };
      const limited = await waitFor(
        "known to the gateway",
        () => callCli(["doctor", "--json"], { env: asReader }),
        ({ stdout }) => stdout.includes("client.scope"),
      );
      expect({ code: limited.code, wrong: wrong(limited.stdout) }).toMatchObject({ code: 0, wrong: [{ check: "client.scope", state: "warning" }] });

      await world.kill();
      const dead = await doctor();
      expect(dead).toMatchObject({ code: 3, stdout: expect.stringMatching(/^failed +server\.port .*ECONNREFUSED.*\n.*npm start/m) });
    } finally {
      await second?.[Symbol.asyncDispose]();
      await first[Symbol.asyncDispose]();
    }
  }, 240_000);
});
