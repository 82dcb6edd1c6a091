/** The host that the conformance suite calls: its answers are told by the request's name. */
import {
  EventServiceDefinition,
  ImportServiceDefinition,
  LoadServiceDefinition,
  PipelineServiceDefinition,
  TransformServiceDefinition,
} from "@onedata/contracts";
import { OneDataError } from "@onedata/core";
import type { Tracer } from "@opentelemetry/api";
import { bySharedSecret } from "../rpc/authenticate.ts";
import type { CallContext } from "../rpc/call-context.ts";
import { createServiceHost, type ServiceHost } from "../rpc/service-host.ts";

export const FIXTURE_SECRET = "a-secret-for-tests-only";

export function createFixtureHost(tracer?: Tracer): ServiceHost {
  const counts = { hanging: 0, streams: 0, unavailable: 0, described: 0 };
  const hang = async ({ signal }: CallContext): Promise<void> => {
    counts.hanging++;
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
    counts.hanging--;
  };
  return createServiceHost({ authenticate: bySharedSecret(FIXTURE_SECRET), tracer })
    .addPartial(TransformServiceDefinition, {
      async apply(request, context) {
        if (request.runId === "hang") await hang(context);
        if (request.runId === "large")
          return { results: [{ n: 0, outcome: { $case: "outputs", value: { json: [new Uint8Array(4 * 1024 * 1024)] } } }] };
        const records = request.groups.flatMap((group) => group.records);
        return {
          results: records.map(({ n, json, timeUnixNanos }) => {
            const text = timeUnixNanos === 0n ? json : new TextEncoder().encode(`${new TextDecoder().decode(json)} at ${timeUnixNanos}`);
            return { n, outcome: { $case: "outputs", value: { json: [text] } } };
          }),
        };
      },
    })
    .addPartial(LoadServiceDefinition, {
      async describe() {
        counts.described++;
        throw new OneDataError("service.unavailable", "not now");
      },
    })
    .addPartial(PipelineServiceDefinition, {
      async getPipeline({ pipeline }, context) {
        switch (pipeline) {
          case "whoami": {
            const { tenantId, principal, scopes, caller, traceparent } = context;
            return { description: JSON.stringify({ tenant: String(tenantId), principal, scopes: [...scopes], caller, traceparent }) };
          }
          case "counts":
            return { description: JSON.stringify(counts) };
          case "problem":
            throw new OneDataError("capture.quota_exceeded", "100 events/s, ærlig", {
              retryAfterSeconds: 3,
              violations: [{ pointer: "/a~1b", code: "quota", detail: "less" }],
            });
          case "many-violations":
            throw new OneDataError("pipeline.invalid", "very wrong", {
              violations: Array.from({ length: 2_000 }, (_, i) => ({
                pointer: `/steps/${i}/with`,
                code: "config.invalid",
                detail: `step ${i} is wrong in a way that takes words to say`,
              })),
            });
          case "unavailable":
            counts.unavailable++;
            throw new OneDataError("service.unavailable", "not now");
          default:
            throw new TypeError("password is hunter2");
        }
      },
    })
    .addPartial(EventServiceDefinition, {
      async *tailEvents({ pipeline }, context) {
        counts.streams++;
        try {
          const [what, count] = pipeline.split("-");
          if (what === "hang") await hang(context);
          for (let i = 0; i < Number(count); i++) yield { id: String(i) };
          if (what === "break") throw new OneDataError("pipeline.deleting", "it goes away");
        } finally {
          counts.streams--;
        }
      },
    })
    .addPartial(ImportServiceDefinition, {
      async uploadImport(requests) {
        let accepted = 0;
        let bytes = 0;
        for await (const request of requests) {
          accepted++;
          bytes += request.chunk.length;
        }
        return { accepted, delivered: bytes };
      },
    });
}
