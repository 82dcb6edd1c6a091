import { describe, expect, it } from "vitest";
import {
  CaptureEventsRequest,
  definitions,
  PreviewPipelineRequest,
  PutConnectionRequest,
  SetVariablesRequest,
  transformV1,
  validate,
} from "../index.ts";

const NUL = "a\0b";
const HALF = "a\ud83d";

describe("text of requests", () => {
  it("is refused with its place where the database could not keep it: in fields, lists, maps, their keys, and JSON", () => {
    const connection = PutConnectionRequest.fromPartial({
      connection: "warehouse",
      kind: "postgres",
      config: { host: NUL, options: ["x", { [HALF]: 1 }] },
      secrets: { password: HALF, [`p${NUL}`]: "x" },
    });
    expect(validate(PutConnectionRequest.$type, connection)).toMatchObject([
      { pointer: "/config/host", code: "no_nul" },
      { pointer: `/config/options/1/${HALF}`, code: "well_formed" },
      { pointer: "/secrets/password", code: "well_formed" },
      { pointer: `/secrets/p${NUL}`, code: "no_nul" },
    ]);
    const events = CaptureEventsRequest.fromPartial({ pipeline: NUL, events: [{ payload: "1", idempotencyKey: NUL }] });
    expect(validate(CaptureEventsRequest.$type, events)).toMatchObject([
      { pointer: "/pipeline", code: "no_nul" },
      { pointer: "/events/0/idempotencyKey", code: "no_nul" },
    ]);
  });

  it("passes with whole pairs and other control characters", () => {
    expect(validate(SetVariablesRequest.$type, SetVariablesRequest.fromPartial({ variables: { a: "\u{1f600}\u0001\ufffd" } }))).toEqual([]);
  });

  it("is not searched where it is a payload or JSON of its own, nor between workloads", () => {
    const events = CaptureEventsRequest.fromPartial({ pipeline: "orders", events: [{ payload: NUL }] });
    expect(validate(CaptureEventsRequest.$type, events)).toEqual([]);
    const preview = PreviewPipelineRequest.fromPartial({ pipeline: "orders", records: [NUL] });
    expect(validate(PreviewPipelineRequest.$type, preview)).toEqual([]);
    const { requestType } = definitions["onedata.transform.v1.TransformService"].methods.checkStep;
    expect(validate(requestType.$type, transformV1.CheckStepRequest.fromPartial({ operation: NUL }))).toEqual([]);
  });
});
