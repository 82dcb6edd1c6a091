/**
 * The type of the tRPC router, from the contract alone: a consumer imports this type and no server code.
 * Names: `PipelineService.ApplyPipeline` is `pipeline.apply`, `EventService.ListEvents` is `event.list`, `PipelineService.ListVersions` is
 * `pipeline.listVersions`: the service's own noun, singular or plural, is left out. `NO_SIDE_EFFECTS` makes a query, everything else a mutation.
 * Server streams are queries that answer an `AsyncIterable` (over `httpBatchStreamLink`): headers work everywhere, where EventSource cannot send a token.
 * Streamed requests (uploads) have no tRPC; they are REST.
 */
import type { definitions } from "@onedata/contracts";
import type { Problem } from "@onedata/core";
import type { TRPCBuiltRouter, TRPCDefaultErrorData, TRPCDefaultErrorShape, TRPCMutationProcedure, TRPCQueryProcedure } from "@trpc/server";

/** Services of the mesh's inner side. A type cannot read options, so a test holds this list to the contract. */
export type InternalService = "onedata.load.v1.LoadService" | "onedata.transform.v1.TransformService";

export type RoutedDefinitions = Omit<typeof definitions, InternalService>;

/** `PipelineService` → `pipeline`. */
export type RouterKey<S extends string> = Uncapitalize<Noun<S>>;

/** `ApplyPipeline` of `PipelineService` → `apply`. */
export type ProcedureKey<S extends string, M extends string> = Uncapitalize<
  M extends `${infer Verb}${Noun<S>}` ? Verb : M extends `${infer Verb}${Noun<S>}s` ? Verb : M
>;

type Noun<S extends string> = S extends `${infer N}Service` ? N : S;

/** The parts of a ts-proto definition that decide a procedure's type. */
type Method = {
  readonly name: string;
  readonly requestType: unknown;
  readonly responseType: unknown;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  readonly options: object;
};
type Service = { readonly name: string; readonly methods: { readonly [key: string]: Method } };

type Input<M extends Method> = M["requestType"] extends { fromPartial(object: infer P): unknown } ? P : never;
type Output<M extends Method> = M["responseType"] extends { decode(input: Uint8Array): infer T } ? T : never;

export type ProcedureOf<M extends Method> = M["responseStream"] extends true
  ? TRPCQueryProcedure<{ input: Input<M>; output: AsyncIterable<Output<M>>; meta: object }>
  : M["options"] extends { readonly idempotencyLevel: "NO_SIDE_EFFECTS" }
    ? TRPCQueryProcedure<{ input: Input<M>; output: Output<M>; meta: object }>
    : TRPCMutationProcedure<{ input: Input<M>; output: Output<M>; meta: object }>;

export type ServiceRouter<D extends Service> = {
  [K in keyof D["methods"] as D["methods"][K]["requestStream"] extends true ? never : ProcedureKey<D["name"], D["methods"][K]["name"]>]: ProcedureOf<
    D["methods"][K]
  >;
};

export type RouterRecord = { [K in keyof RoutedDefinitions as RouterKey<RoutedDefinitions[K]["name"]>]: ServiceRouter<RoutedDefinitions[K]> };

/** `error.data.problem` is the body that REST would have answered (RFC 9457). */
export interface ErrorShape extends TRPCDefaultErrorShape {
  data: TRPCDefaultErrorData & { problem: Problem };
}

export type AppRouter = TRPCBuiltRouter<{ ctx: object; meta: object; errorShape: ErrorShape; transformer: true }, RouterRecord>;
