import { createLogger } from "@onedata/mesh";
import { expect, it } from "vitest";
import { createUnreachableTeller } from "./tell-unreachable.ts";

it("warns of a service that was there, and of one that does not come, but not of one that is starting", () => {
  const lines: { level: string; address: string }[] = [];
  let nowMs = 5;
  const log = createLogger({ name: "control", pretty: false, write: (line) => lines.push(JSON.parse(line)) });
  const tell = createUnreachableTeller(log, () => nowMs);
  const after = (ms: number, ...addresses: string[]): string[] => {
    nowMs = 5 + ms;
    tell(new Map(addresses.map((address) => [address, "the caller gave up"])));
    return lines.splice(0).map(({ level, address }) => `${level} ${address}`);
  };
  expect(after(0, "worker:transform", "inproc:load")).toEqual([]);
  expect(after(59_000, "worker:transform")).toEqual([]);
  // It had come, so it is no longer starting.
  expect(after(59_500, "worker:transform", "inproc:load")).toEqual(["warn inproc:load"]);
  expect(after(60_000, "worker:transform")).toEqual(["warn worker:transform"]);
  expect(after(61_000)).toEqual([]);
});
