/** What the compiler promises about clients and implementations; `tsc -b` is the test, vitest runs the file for its one assertion. */
import {
  type Event,
  EventServiceDefinition,
  type Import,
  ImportServiceDefinition,
  type Pipeline,
  PipelineServiceDefinition,
  TransformServiceDefinition,
  transformV1,
} from "@onedata/contracts";
import { describe, expectTypeOf, it } from "vitest";
import type { CallContext } from "./call-context.ts";
import type { CallOptions, createClient } from "./client.ts";
import type { Client, Implementation } from "./definition.ts";

type Pipelines = Client<typeof PipelineServiceDefinition>;

describe("Client", () => {
  it("has one method per rpc, typed by the definition", () => {
    expectTypeOf<Pipelines["getPipeline"]>().returns.toEqualTypeOf<Promise<Pipeline>>();
    expectTypeOf<Pipelines["getPipeline"]>().parameter(1).toEqualTypeOf<CallOptions | undefined>();
    expectTypeOf<Client<typeof EventServiceDefinition>["tailEvents"]>().returns.toEqualTypeOf<AsyncIterable<Event>>();
    expectTypeOf<Client<typeof ImportServiceDefinition>["uploadImport"]>().returns.toEqualTypeOf<Promise<Import>>();
    expectTypeOf<ReturnType<typeof createClient<typeof PipelineServiceDefinition>>>().toEqualTypeOf<Pipelines>();
  });

  it("takes partial requests, and nothing that is not in them", () => {
    expectTypeOf<{ pipeline: string }>().toExtend<Parameters<Pipelines["getPipeline"]>[0]>();
    const check = (client: Pipelines): void => {
      // @ts-expect-error a name is text
      void client.getPipeline({ pipeline: 7 });
      // @ts-expect-error no such field
      void client.getPipeline({ pipeline: "a", pipelin: "b" });
      // @ts-expect-error no such method
      void client.getPipelines({});
      // @ts-expect-error a stream takes an iterable
      void ({} as Client<typeof ImportServiceDefinition>).uploadImport({ pipeline: "a" });
    };
    expectTypeOf(check).toBeFunction();
  });
});

describe("Implementation", () => {
  type Transform = Implementation<typeof TransformServiceDefinition>;

  it("gets complete requests and the context, and may answer partially", () => {
    expectTypeOf<Transform["apply"]>().parameter(0).toEqualTypeOf<transformV1.ApplyRequest>();
    expectTypeOf<Transform["apply"]>().parameter(1).toEqualTypeOf<CallContext>();
    const partial = { describe: async () => ({ service: "a" }), apply: async () => ({}), checkStep: async () => ({}) } satisfies Transform;
    expectTypeOf(partial).toExtend<Transform>();
    // @ts-expect-error apply is missing
    const missing: Transform = { describe: async () => ({}) };
    expectTypeOf(missing).toBeObject();
  });
});
