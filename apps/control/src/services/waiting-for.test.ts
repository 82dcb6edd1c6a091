import type { EventWait } from "@onedata/store/control";
import { describe, expect, it } from "vitest";
import { describeWait, since } from "./waiting-for.ts";

const now = new Date("2026-11-23T12:10:00Z");
const at = (time: string): Date => new Date(`2026-11-23T${time}Z`);
const turn: EventWait = {
  now,
  kind: "capture",
  running: false,
  runDeadline: undefined,
  ownerLostAt: undefined,
  availableAt: undefined,
  attempt: 1,
  failures: 0,
  suspect: false,
  progress: [],
  pipelineState: "running",
  pipelineReason: undefined,
  pipelineStateChangedBy: undefined,
  pipelineStateChangedAt: undefined,
  blocked: undefined,
  import: undefined,
  job: undefined,
  orderedBehind: undefined,
  batchesAhead: 0,
  importBatchesAhead: 0,
  enginesAlive: 1,
  lastEngineAt: at("12:10:05"),
};
const retry = { at: "step enrich", code: "busy", message: "429 of the geocoder" };
const alone = { at: "sink billing", code: "sink.failed", message: "https://b.example answers 500: boom", limit: 5 };
const blocked = { reason: "service enrich: connection refused (service.unavailable)", since: at("12:03:00"), until: at("12:10:10"), failures: 4 };
const paused: Partial<EventWait> = { pipelineState: "paused", pipelineStateChangedBy: "ana", pipelineStateChangedAt: at("12:03:00") };
const behind = { running: false, availableAt: undefined, suspect: false };

describe("waitingFor", () => {
  it.each<[string, Partial<EventWait>, string]>([
    ["its turn", {}, "its turn: an engine takes it next"],
    [
      "a run",
      { running: true, attempt: 2, runDeadline: at("12:11:00") },
      "an engine is running it, attempt 2; taken over by another one if it gives no sign of life until 12:11:00 UTC",
    ],
    [
      "the run of a dead engine",
      { running: true, ownerLostAt: at("12:09:40") },
      "the engine that runs it, attempt 1, has given no sign of life since 12:09 UTC; another one takes it over",
    ],
    ["a person", paused, "paused by ana since 12:03 UTC"],
    ["a person with a reason", { ...paused, pipelineReason: "the warehouse moves" }, "paused by ana since 12:03 UTC: the warehouse moves"],
    [
      "a flood of deaths",
      { ...paused, pipelineStateChangedBy: "onedata", pipelineReason: "paused itself: 214 of the last 1,000 live events of version 7 died" },
      "paused itself since 12:03 UTC: 214 of the last 1,000 live events of version 7 died",
    ],
    ["a paused pipeline before its service", { ...paused, blocked }, "paused by ana since 12:03 UTC"],
    [
      "a stopped import",
      { import: { id: 1n, stopped: { at: at("12:04:00"), reason: "stopped itself: 214 of its last 1,000 events died in version 7" } } },
      "import imp_1 stopped since 12:04 UTC: 214 of its last 1,000 events died in version 7; until it is resumed",
    ],
    ["engines that died", { enginesAlive: 0, lastEngineAt: at("12:01:00"), blocked }, "no engine is alive since 12:01 UTC"],
    ["engines that never were", { enginesAlive: 0, lastEngineAt: undefined }, "no engine is running"],
    ["a service that is down", { blocked }, "service enrich: connection refused (service.unavailable), since 12:03 UTC, next try 12:10:10 UTC"],
    [
      "a service whose next try is due",
      { blocked: { ...blocked, until: at("12:09:59") } },
      "service enrich: connection refused (service.unavailable), since 12:03 UTC, the next try is due",
    ],
    [
      "its own retry",
      { availableAt: at("12:10:04"), attempt: 2, progress: [{ n: 3, tries: 2, sinksDone: [], retry }] },
      "step enrich asked to be tried again (busy: 429 of the geocoder), try 3 of 5 at 12:10:04 UTC",
    ],
    [
      "its own retry at a step with a limit of its own",
      {
        availableAt: at("12:10:04"),
        progress: [{ n: 3, tries: 2, sinksDone: [], places: { "step enrich": { tries: 1 } }, retry: { ...retry, limit: 11 } }],
      },
      "step enrich asked to be tried again (busy: 429 of the geocoder), try 2 of 11 at 12:10:04 UTC",
    ],
    [
      "a sink that fails with it and writes others",
      {
        availableAt: at("12:10:04"),
        progress: [
          { n: 3, tries: 2, sinksDone: [], places: { "sink billing": { tries: 2, alone: 3 } }, retry: { ...alone, alone: "proved" as const } },
        ],
      },
      "sink billing fails with this record alone, and writes others (https://b.example answers 500: boom), try 3 of 5 at 12:10:04 UTC",
    ],
    [
      "a sink that failed with it and has nothing else to write",
      {
        availableAt: at("12:10:04"),
        progress: [
          { n: 3, tries: 0, sinksDone: [], places: { "sink billing": { tries: 0, alone: 3 } }, retry: { ...alone, alone: "unproved" as const } },
        ],
      },
      "sink billing failed with this record alone and has written no other since (https://b.example answers 500: boom): nothing is held against it, next try at 12:10:04 UTC",
    ],
    [
      "a retry of others in its batch",
      {
        availableAt: at("12:10:04"),
        progress: [
          { n: 4, tries: 1, sinksDone: [], retry },
          { n: 3, tries: 0, sinksDone: [] },
        ],
      },
      "others of its batch asked to be tried again; it goes with them at 12:10:04 UTC",
    ],
    [
      "a pause after a crash",
      { availableAt: at("12:10:01"), failures: 1 },
      "a service or an engine died with it in flight; it is tried again at 12:10:01 UTC",
    ],
    ["its turn after a crash", { failures: 1 }, "its turn: a service or an engine died with it once, so it runs apart from what ran with it"],
    [
      "suspicion",
      { failures: 2, suspect: true, batchesAhead: 12 },
      "suspected of crashing services or engines, which died 2 times with it: it runs alone, when its turn comes",
    ],
    ["its lane at work", { orderedBehind: { ...behind, running: true }, batchesAhead: 3 }, "an earlier event of its ordering lane is at work"],
    [
      "a retry before it in its lane",
      { orderedBehind: { ...behind, availableAt: at("12:10:02") }, batchesAhead: 3 },
      "an earlier event of its ordering lane is tried again at 12:10:02 UTC",
    ],
    [
      "a suspect before it in its lane",
      { orderedBehind: { ...behind, suspect: true }, batchesAhead: 3 },
      "an earlier event of its ordering lane is suspected of crashing services, and runs alone before it",
    ],
    ["its place in its lane", { orderedBehind: behind, batchesAhead: 1 }, "1 batch ahead in its ordering lane"],
    ["its place", { batchesAhead: 12 }, "12 batches ahead"],
    ["a long queue", { batchesAhead: 10_000 }, "more than 10,000 batches ahead"],
    ["its import", { batchesAhead: 1204, importBatchesAhead: 1204, import: { id: 1n, stopped: undefined } }, "1,204 batches of your import ahead"],
    [
      "its import and others",
      { batchesAhead: 30, importBatchesAhead: 10, import: { id: 1n, stopped: undefined } },
      "10 batches of your import ahead, and 20 of others",
    ],
    ["its job", { kind: "replay", job: { id: 33n, state: "running", reason: undefined }, batchesAhead: 2 }, "replay job_11: 2 batches ahead"],
    [
      "a cancelled job",
      { kind: "backfill", job: { id: 33n, state: "cancelled", reason: "by ana" } },
      "backfill job_11 is cancelled (by ana): its turn: an engine takes it next",
    ],
  ])("says in a sentence that it waits for %s", (_, given, sentence) => {
    expect(describeWait({ ...turn, ...given }, 3)).toBe(sentence);
  });

  it("gives the day of what began more than a day ago", () => {
    expect(since(new Date("2026-11-20T08:00:00Z"), now)).toBe("since 2026-11-20 08:00 UTC");
  });
});
