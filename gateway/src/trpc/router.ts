/**
 * The tRPC router, made from the definitions: one procedure per method, no hand-written ones.
 * Duty: names, query or mutation, scopes in one middleware, input check, the call, `error.data.problem`. Non-duty: HTTP (`facade.ts`).
 * Invariants: default deny; the names are those of the type `AppRouter`, and a doubled one throws at start; text of unknown errors never leaves.
 */
import { definitions, type MethodContract, readContract } from "@onedata/contracts";
import { OneDataError, type Problem } from "@onedata/core";
import { type CallOptions, type ClientOptions, createClient, type MethodDefinition, type ServiceDefinition, type Transport } from "@onedata/mesh";
import { initTRPC, TRPCError, type TRPCMutationProcedure, type TRPCQueryProcedure } from "@trpc/server";
import type { Principal } from "../auth/principal.ts";
import type { Caller } from "../http/seam.ts";
import type { AppRouter } from "./app-router.ts";
import { readInput } from "./check-input.ts";
import { toProblem, toTrpcError } from "./problem.ts";
import { transformer } from "./transformer.ts";

export type TrpcContext = {
  readonly caller: Caller;
  /** What goes with every call of this request. */
  readonly callOptions: (principal: Principal | undefined, signal: AbortSignal | undefined) => CallOptions;
};

export type TrpcOptions = {
  /** By full service name; undefined where this installation does not run its workload. */
  readonly transportOf: (service: string) => Transport | undefined;
  readonly client: ClientOptions;
};

type Meta = { readonly rpc?: MethodContract };

const t = initTRPC
  .context<TrpcContext>()
  .meta<Meta>()
  .create({
    transformer,
    isDev: false,
    defaultMeta: {},
    errorFormatter: ({ shape, error }) => {
      const problem: Problem = toProblem(error);
      return { ...shape, message: problem.detail, data: { ...shape.data, problem } };
    },
  });

/** Everything that fails below becomes a TRPCError with the problem's status; scopes come first. */
const governed = t.procedure.use(async ({ ctx, meta, next, signal }) => {
  const rpc = meta?.rpc;
  if (rpc === undefined || (rpc.policy.scopes.length === 0 && !rpc.policy.anonymous))
    throw new TRPCError({ code: "FORBIDDEN", message: "this procedure has no policy" });
  const principal = await guarded(async () => (rpc.policy.anonymous ? ctx.caller.principal : ctx.caller.demand(rpc.policy.scopes)));
  const options = await guarded(async () => ctx.callOptions(principal, signal));
  return await next({ ctx: { callOptionsNow: options } });
});

/** The procedures of one service, over `transportOf` of its workload. */
export function serviceRouter<D extends ServiceDefinition>(definition: D, options: TrpcOptions): Record<string, AnyProcedure> {
  const { methodByPath } = readContract();
  const procedures: Record<string, AnyProcedure> = {};
  for (const [key, method] of Object.entries(definition.methods)) {
    if (method.requestStream) continue;
    const rpc = methodByPath.get(`/${definition.fullName}/${method.name}`);
    if (rpc === undefined) throw new Error(`trpc: ${definition.fullName}/${method.name} is not in the contract`);
    const name = procedureKey(definition.name, method.name);
    if (Object.hasOwn(procedures, name)) throw new Error(`trpc: two methods of ${definition.name} are called ${name}`);
    procedures[name] = procedureOf(definition, key, method, rpc, options);
  }
  return procedures;
}

/** All services that are not internal. */
export function createAppRouter(options: TrpcOptions): AppRouter {
  const { serviceByName } = readContract();
  const routers = Object.values(definitions)
    .filter(({ fullName }) => serviceByName.get(fullName)?.internal === false)
    .map((definition): [string, Record<string, AnyProcedure>] => [routerKey(definition.name), serviceRouter(definition, options)]);
  // Built key by key by the rules of the type, from the same definitions; TypeScript cannot follow that. A test walks both.
  return t.router(Object.fromEntries(routers)) as unknown as AppRouter;
}

type Procedure = { input: unknown; output: unknown; meta: Meta };
type AnyProcedure = TRPCQueryProcedure<Procedure> | TRPCMutationProcedure<Procedure>;

function procedureOf(
  definition: ServiceDefinition,
  key: string,
  method: MethodDefinition,
  rpc: MethodContract,
  { transportOf, client }: TrpcOptions,
): AnyProcedure {
  const call = (input: unknown, options: CallOptions): unknown => {
    const transport = transportOf(definition.fullName);
    if (transport === undefined) throw new OneDataError("service.unavailable", `${definition.fullName} is not part of this installation`);
    const run = createClient(definition, transport, client)[key];
    if (run === undefined) throw new Error(`trpc: no method ${key} in ${definition.fullName}`);
    // Streamed requests were left out above, so the argument is one message.
    return (run as (request: unknown, options: CallOptions) => unknown)(input, options);
  };
  const procedure = governed.meta({ rpc }).input((input: unknown) => readInput(method.requestType, input));
  if (method.responseStream) {
    return procedure.query(async function* ({ input, ctx }) {
      try {
        // The client's type says AsyncIterable for a streamed response.
        yield* call(input, ctx.callOptionsNow) as AsyncIterable<unknown>;
      } catch (error) {
        throw toTrpcError(error);
      }
    });
  }
  return rpc.idempotency === "no_side_effects"
    ? procedure.query(({ input, ctx }) => guarded(async () => await call(input, ctx.callOptionsNow)))
    : procedure.mutation(({ input, ctx }) => guarded(async () => await call(input, ctx.callOptionsNow)));
}

async function guarded<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw toTrpcError(error);
  }
}

/** `PipelineService` → `pipeline`: `RouterKey`, at run time. */
export const routerKey = (service: string): string => uncapitalize(service.replace(/Service$/, ""));

/** `ApplyPipeline` of `PipelineService` → `apply`: `ProcedureKey`, at run time. */
export function procedureKey(service: string, method: string): string {
  const noun = service.replace(/Service$/, "");
  const suffix = [noun, `${noun}s`].find((candidate) => method.endsWith(candidate));
  return uncapitalize(suffix === undefined ? method : method.slice(0, -suffix.length));
}

const uncapitalize = (text: string): string => text.charAt(0).toLowerCase() + text.slice(1);
