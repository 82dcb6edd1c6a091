import { expect, it } from "vitest";
import { createTurns } from "./turns.ts";

it("computes one group at a time, in order, and lets others compute while one waits", async () => {
  const turns = createTurns();
  const log: string[] = [];
  let answer = (): void => undefined;
  const database = new Promise<void>((resolve) => {
    answer = resolve;
  });
  const slow = turns.take(async () => {
    log.push("slow begins");
    await turns.pause(() => database);
    log.push("slow goes on");
    await Promise.resolve();
    log.push("slow ends");
  });
  const quick = ["a", "b"].map((name) =>
    turns.take(async () => {
      log.push(`${name} begins`);
      await Promise.resolve();
      log.push(`${name} ends`);
    }),
  );
  await Promise.all(quick);
  answer();
  await slow;
  expect(log).toEqual(["slow begins", "a begins", "a ends", "b begins", "b ends", "slow goes on", "slow ends"]);
});

it("passes the turn on when a group fails, in its wait or its work", async () => {
  const turns = createTurns();
  const failing = [
    turns.take(() => turns.pause(() => Promise.reject(new Error("waited in vain")))),
    turns.take(() => Promise.reject(new Error("computed in vain"))),
  ];
  expect((await Promise.allSettled(failing)).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect(await turns.take(() => Promise.resolve("free"))).toBe("free");
});
