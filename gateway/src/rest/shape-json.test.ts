import { fromJson, type Message } from "@bufbuild/protobuf";
import { messageOf } from "@onedata/contracts";
import type { JsonObject, Violation } from "@onedata/core";
import { parseJson } from "@onedata/formats";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { shapeJson } from "./shape-json.ts";

const MESSAGES = [
  "onedata.pipeline.v1.PipelineSpec",
  "onedata.connection.v1.PutConnectionRequest",
  "onedata.event.v1.ListEventsRequest",
  "onedata.tenant.v1.CreateTenantRequest",
  "onedata.lookup.v1.PutLookupRequest",
  "onedata.imports.v1.UploadImportRequest",
  "onedata.lab.v1.PreviewPipelineRequest",
];

function shape(typeName: string, json: JsonObject): { shaped: ReturnType<typeof shapeJson>; violations: Violation[] } {
  const violations: Violation[] = [];
  return { shaped: shapeJson(messageOf(typeName), json, violations), violations };
}

describe("holding JSON against a message", () => {
  it("never passes what fromJson then refuses", () => {
    const names = MESSAGES.flatMap((typeName) => messageOf(typeName).fields.flatMap((field) => [field.jsonName, field.name]));
    const value = fc.letrec((tie) => ({
      any: fc.oneof(
        { depthSize: "small" },
        fc.constantFrom<unknown>(
          null,
          true,
          0,
          1.5,
          -1,
          4_294_967_296,
          "",
          "1",
          "NaN",
          "2026-01-31T12:00:00Z",
          "YQ==",
          "a=b",
          "12345678901234567890",
        ),
        fc.string(),
        fc.double({ noNaN: true, noDefaultInfinity: true }),
        fc.array(tie("any"), { maxLength: 3 }),
        fc.dictionary(fc.oneof(fc.constantFrom(...names), fc.string({ maxLength: 3 })), tie("any"), { maxKeys: 3, noNullPrototype: true }),
      ),
    })).any;
    const object = fc.dictionary(fc.constantFrom(...names), value, { maxKeys: 5, noNullPrototype: true });
    fc.assert(
      fc.property(fc.constantFrom(...MESSAGES), object, (typeName, json) => {
        // Made of JSON alone.
        const { shaped, violations } = shape(typeName, json as JsonObject);
        const message: Message = fromJson(messageOf(typeName), shaped);
        expect([message.$typeName, violations.every(({ pointer, detail }) => pointer.startsWith("/") && detail !== "")]).toEqual([typeName, true]);
      }),
      { numRuns: 500 },
    );
  });

  it("says each thing with its place", () => {
    const json = { name: 7, steps: [{ id: "a", uze: "x" }, 5], input: { schema: [] }, tests: [{ given: [null, 1], dead: -1 }] };
    expect(shape("onedata.pipeline.v1.PipelineSpec", json).violations).toEqual([
      { pointer: "/name", code: "type", detail: "must be a string; got 7" },
      { pointer: "/steps/0/uze", code: "unknown", detail: 'unknown field "uze"; did you mean "use"?' },
      { pointer: "/steps/1", code: "type", detail: "must be an object; got 5" },
      { pointer: "/input/schema", code: "type", detail: "must be an object; got []" },
      { pointer: "/tests/0/dead", code: "type", detail: "must be an integer from 0 to 4294967295; got -1" },
    ]);
  });

  it("keeps integers of 64 bits, and refuses larger ones", () => {
    const read = (text: string): ReturnType<typeof shape> => shape("onedata.imports.v1.UploadImportRequest", { from: parseJson(text) });
    expect(read("18446744073709551615").shaped).toEqual({ from: "18446744073709551615" });
    expect(read("18446744073709551616").violations).toMatchObject([{ pointer: "/from", code: "type" }]);
  });

  it("takes both names of a field, not twice", () => {
    expect(shape("onedata.event.v1.ListEventsRequest", { page_size: 5, pageSize: 6 }).violations).toMatchObject([
      { pointer: "/pageSize", code: "duplicate" },
    ]);
  });
});
