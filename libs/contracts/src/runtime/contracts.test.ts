import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  commentOf,
  definitions,
  fromJsonText,
  GetVersionRequest,
  ListOutputsResponse,
  loadV1,
  Pipeline,
  PreviewPipelineRequest,
  PreviewPipelineResponse,
  PutConnectionRequest,
  pipelineV1,
  readContract,
  StepSpec,
  toJsonText,
  transformV1,
  validate,
  warmUpValidators,
} from "../index.ts";

describe("readContract", () => {
  it("knows every definition, and every definition is known", () => {
    expect(readContract().services.map(({ fullName }) => fullName)).toEqual(Object.keys(definitions).sort());
  });

  it("reads route, policy and comment of a method", () => {
    expect(readContract().methodByPath.get("/onedata.pipeline.v1.PipelineService/ApplyPipeline")).toMatchObject({
      idempotency: "idempotent",
      http: [{ verb: "PUT", path: "/v1/pipelines/{pipeline}", body: "document" }],
      policy: {
        scopes: ["pipelines:write"],
        timeoutMs: 30_000,
        successStatus: 200,
        rawBody: { field: "document", mediaTypes: ["application/json", "application/yaml"] },
      },
      comment: "Checks a spec, runs its tests, stores it as a version if it differs, and activates it.",
    });
  });

  it("has a comment for every message and field of ours", () => {
    for (const { input, output } of readContract().methods) {
      for (const message of [input, output]) expect(commentOf(message.typeName), message.typeName).not.toBe("");
      for (const field of input.fields) expect(commentOf(`${input.typeName}.${field.name}`), field.toString()).not.toBe("");
    }
  });
});

describe("validate", () => {
  it("answers nothing for a valid message", () => {
    warmUpValidators();
    expect(validate(GetVersionRequest.$type, GetVersionRequest.fromPartial({ pipeline: "orders", version: 3 }))).toEqual([]);
  });

  it("points at what is wrong, through lists and maps", () => {
    const request = transformV1.ApplyRequest.fromPartial({});
    expect(validate(transformV1.ApplyRequest.$type, request)).toEqual([]);
    expect(validate(PutConnectionRequest.$type, PutConnectionRequest.fromPartial({ connection: "Bad Name", kind: "ftp" }))).toMatchObject([
      { pointer: "/connection", code: "string.pattern" },
      { pointer: "/kind", code: "string.in" },
    ]);
    const events = { pipeline: "orders", events: [{}, { idempotencyKey: "k".repeat(256) }] };
    expect(
      validate("onedata.capture.v1.CaptureEventsRequest", {
        ...events,
        events: events.events.map((event) => ({ payload: "", idempotencyKey: "", ...event })),
      }),
    ).toMatchObject([{ pointer: "/events/1/idempotencyKey", code: "string.max_len" }]);
  });
});

describe("JSON text", () => {
  const at = new Date("2026-03-04T05:06:07.089Z");

  it("is proto3 JSON, with times as text and defaults shown", () => {
    const json = JSON.parse(toJsonText(Pipeline.$type, Pipeline.fromPartial({ name: "orders", activeVersion: 2, createdAt: at })));
    expect(json).toEqual({
      name: "orders",
      state: "",
      reason: "",
      activeVersion: 2,
      ordering: "",
      etag: "",
      createdAt: "2026-03-04T05:06:07.089Z",
      description: "",
      sinks: [],
    });
  });

  it("reads back what it wrote: oneofs, Structs, Values, 64-bit numbers, bytes", () => {
    const messages: [string, unknown][] = [
      [
        StepSpec.$type,
        StepSpec.fromPartial({ id: "a", use: "record.map", with: { set: { total: "price * 2", deep: [1, null, { x: true }] } }, needs: ["b"] }),
      ],
      [pipelineV1.TestSpec.$type, pipelineV1.TestSpec.fromPartial({ name: "t", given: [{ a: 1 }, null, "text", 2.5, [true]], expect: [] })],
      [
        loadV1.WriteRecord.$type,
        loadV1.WriteRecord.fromPartial({
          n: 1,
          key: "k",
          json: new Uint8Array([1, 2, 255]),
          timeUnixNanos: 9007199254740993n,
          source: { batchId: -5n },
        }),
      ],
      [
        transformV1.Result.$type,
        transformV1.Result.fromPartial({ n: 4, outcome: { $case: "failed", value: { step: 1, code: "x", retryAfter: { seconds: 3n, nanos: 5 } } } }),
      ],
      [transformV1.Result.$type, transformV1.Result.fromPartial({ n: 4 })],
      [
        PutConnectionRequest.$type,
        PutConnectionRequest.fromPartial({ connection: "a", kind: "http", config: { url: "x" }, secrets: { password: "p" } }),
      ],
    ];
    for (const [type, message] of messages) expect(fromJsonText(type, toJsonText(type, message)), type).toEqual(message);
  });

  it("shows raw JSON digit for digit", () => {
    const record = '{"a":1.10,"b":12345678901234567890,"c":"\\u0000"}';
    const message = ListOutputsResponse.fromPartial({ outputs: [{ event: "evt_1_0", record }, { record: "" }, { record: "not json" }] });
    const text = toJsonText(ListOutputsResponse.$type, message);
    expect(text).toContain(`"record":${record}`);
    expect(text).toContain('{"event":"","k":0}');
    expect(text).toContain('"record":"not json"');
    expect(fromJsonText(ListOutputsResponse.$type, text)).toMatchObject({
      outputs: [{ event: "evt_1_0", record }, { record: "" }, { record: '"not json"' }],
    });
  });

  it("takes any JSON value for a raw field, also in lists and below other messages", () => {
    const text = ' { "pipeline" : "p\\u0031", "records" : [ {"id": 1.0} , [1 , 2], "text", null, 1e400 ] } ';
    expect(fromJsonText(PreviewPipelineRequest.$type, text)).toMatchObject({
      pipeline: "p1",
      records: ['{"id": 1.0}', "[1 , 2]", '"text"', "null", "1e400"],
    });
    const answer = PreviewPipelineResponse.fromPartial({ records: [{ input: "{}", steps: [{ step: "a", outputs: ['{"x":1.50}'] }] }] });
    expect(toJsonText(PreviewPipelineResponse.$type, answer)).toContain('"outputs":[{"x":1.50}]');
  });

  it("keeps any JSON document of a raw field as it is", () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 4 }), fc.constantFrom("", " ", "\n\t"), (document, space) => {
        const text = `{"records":[${space}${document}${space},${document}]}`;
        const expected = document.trim();
        expect(fromJsonText(PreviewPipelineRequest.$type, text)).toMatchObject({ records: [expected, expected] });
      }),
    );
  });

  it("puts raw JSON on one line when asked", () => {
    const message = ListOutputsResponse.fromPartial({ outputs: [{ record: '{\n  "a": "x\\ny"\r\n}' }] });
    expect(toJsonText(ListOutputsResponse.$type, message, { singleLine: true })).toContain('"record":{   "a": "x\\ny" }');
  });

  it("refuses unknown fields and wrong types", () => {
    expect(() => fromJsonText(GetVersionRequest.$type, '{"pipeline":"a","wersion":1}')).toThrow(/wersion/);
    expect(() => fromJsonText(GetVersionRequest.$type, '{"version":"many"}')).toThrow(/version/);
    expect(() => fromJsonText(GetVersionRequest.$type, '{"version":')).toThrow(SyntaxError);
  });
});
