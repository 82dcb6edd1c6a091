/** Types alone: `tsc` is the test. Each line fails to compile when an inferred type changes. */
import type { ApplyPipelineRequest, ApplyPipelineResponse, Event, ListEventsResponse, Pipeline, Reject } from "@onedata/contracts";
import type { Problem } from "@onedata/core";
import type { TRPCClient, TRPCClientErrorLike } from "@trpc/client";
import type { inferRouterInputs, inferRouterOutputs } from "@trpc/server";
import type { AppRouter, ProcedureKey, RouterKey, RouterRecord } from "./app-router.ts";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function expectType<T extends true>(): T | undefined {
  return undefined;
}

type In = inferRouterInputs<AppRouter>;
type Out = inferRouterOutputs<AppRouter>;

expectType<Equal<RouterKey<"DeadLetterService">, "deadLetter">>();
expectType<Equal<ProcedureKey<"PipelineService", "ApplyPipeline">, "apply">>();
expectType<Equal<ProcedureKey<"PipelineService", "ListPipelines">, "list">>();
expectType<Equal<ProcedureKey<"PipelineService", "ListVersions">, "listVersions">>();
expectType<Equal<Exclude<keyof RouterRecord, "transform" | "load">, keyof RouterRecord>>();

expectType<Equal<Out["pipeline"]["apply"], ApplyPipelineResponse>>();
expectType<Equal<Out["pipeline"]["get"], Pipeline>>();
expectType<Equal<Out["event"]["list"], ListEventsResponse>>();
expectType<Equal<Out["event"]["tail"], AsyncIterable<Event>>>();
expectType<Equal<Out["import"]["listRejects"], AsyncIterable<Reject>>>();
expectType<Equal<In["pipeline"]["apply"]["document"], ApplyPipelineRequest["document"] | undefined>>();
expectType<Equal<In["event"]["list"]["since"], Date | undefined>>();
expectType<Equal<Pipeline["createdAt"], Date | undefined>>();

/** Never called: what a consumer writes. */
export async function use(client: TRPCClient<AppRouter>, error: TRPCClientErrorLike<AppRouter>): Promise<void> {
  const applied = await client.pipeline.apply.mutate({ pipeline: "orders", document: "name: orders" });
  expectType<Equal<typeof applied, ApplyPipelineResponse>>();
  const pipeline = await client.pipeline.get.query({ pipeline: "orders" });
  expectType<Equal<typeof pipeline, Pipeline>>();
  for await (const event of await client.event.tail.query({ pipeline: "orders" })) expectType<Equal<typeof event, Event>>();
  expectType<Equal<Exclude<typeof error.data, null | undefined>["problem"], Problem>>();

  // @ts-expect-error a method with effects is no query
  await client.pipeline.apply.query({ pipeline: "orders" });
  // @ts-expect-error a method without effects is no mutation
  await client.pipeline.get.mutate({ pipeline: "orders" });
  // @ts-expect-error unknown field
  await client.pipeline.get.query({ pipelin: "orders" });
  // @ts-expect-error wrong type
  await client.pipeline.list.query({ pageSize: "5" });
  // @ts-expect-error streamed requests have no procedure
  await client.import.upload.mutate({});
  // @ts-expect-error internal services have no router
  await client.transform.apply.mutate({});
}
