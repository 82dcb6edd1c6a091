/**
 * Asks a service to do an example of its own catalogue: when it can, what another call failed on is the data's fault, not the service's.
 * Non-duty: deciding when to ask. Invariant: only operations without effects and connections are tried; any answer in time counts, also that a record failed.
 */
import { createHash } from "node:crypto";
import type { TransformClient } from "./service-calls.ts";

type Description = Awaited<ReturnType<TransformClient["describe"]>>;
type Example = { readonly operation: string; readonly config: string; readonly input: string };

const PROBE_TIMEOUT_MS = 5_000;

/** `undefined`: the service has no example that can be tried. */
export type Probe = (service: string, client: TransformClient, signal: AbortSignal) => Promise<boolean | undefined>;

export function createProbe(): Probe {
  const examples = new Map<string, Example | undefined>();
  const running = new Map<string, Promise<boolean | undefined>>();
  const probe: Probe = async (service, client, signal) => {
    try {
      const options = { signal, timeoutMs: PROBE_TIMEOUT_MS };
      if (!examples.has(service)) examples.set(service, chooseExample(await client.describe({}, options)));
      const example = examples.get(service);
      if (example === undefined) return undefined;
      await client.apply(toRequest(example), options);
      return true;
    } catch {
      // It may come back with another catalogue.
      examples.delete(service);
      return false;
    }
  };
  return (service, client, signal) => {
    const known = running.get(service);
    if (known !== undefined) return known;
    const started = probe(service, client, signal).finally(() => running.delete(service));
    running.set(service, started);
    return started;
  };
}

function chooseExample({ operations }: Description): Example | undefined {
  for (const { name, effects, needsConnection, shape, examples } of operations) {
    if (effects !== "none" || needsConnection || shape === "batch") continue;
    const example = examples.find(({ input, fails }) => input !== "" && fails === "");
    if (example !== undefined) return { operation: name, config: example.config === "" ? "{}" : example.config, input: example.input };
  }
  return undefined;
}

function toRequest({ operation, config, input }: Example): Parameters<TransformClient["apply"]>[0] {
  const encoder = new TextEncoder();
  const configHash = createHash("sha256").update(config).digest("hex");
  return {
    runId: "00000000-0000-0000-0000-000000000000",
    groups: [
      {
        pipeline: "example",
        version: 0,
        tenant: "0",
        steps: [{ operation, configJson: encoder.encode(config), configHash, connection: undefined }],
        records: [{ n: 0, json: encoder.encode(input), timeUnixNanos: 0n }],
      },
    ],
  };
}
