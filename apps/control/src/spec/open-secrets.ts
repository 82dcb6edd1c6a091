/**
 * Secrets in a spec: a spec is stored in the open and shown to all who may read pipelines.
 *
 * A header of `http.post` that looks like a secret is refused: a connection carries any header, encrypted. A secret in the query of its URL is warned of only, as a connection has no
 * place for one and some receivers take no header. Names alone are looked at, as for connections; messages never show a value.
 */
import type { PipelineSpec, Violation } from "@onedata/core";
import { isJsonObject, toPointer } from "@onedata/core";
import { SECRET_NAME } from "../services/connection-config.ts";

export type OpenSecrets = { readonly refused: readonly Violation[]; readonly warnings: readonly Violation[] };

export function findOpenSecrets(spec: PipelineSpec): OpenSecrets {
  const sinks = spec.sinks.map((sink, i) => ({ ...sink, at: `/sinks/${i}/with` })).filter(({ use }) => use === "http.post");
  return {
    refused: sinks.flatMap(({ with: { headers }, at }) =>
      (isJsonObject(headers ?? null) ? Object.keys(headers ?? {}) : []).filter(isSecretHeader).map((name) => ({
        pointer: `${at}${toPointer(["headers", name])}`,
        code: "spec.secret_in_open",
        detail: `${JSON.stringify(name)} looks like a secret, and a spec is stored in the open: put it into the secret "headers" of a connection of kind http, and name that under connection`,
      })),
    ),
    warnings: sinks.flatMap(({ with: { url }, at }) =>
      (typeof url === "string" ? queryNames(url) : [])
        .filter((name) => SECRET_NAME.test(name) || /^key$/i.test(name))
        .map((name) => ({
          pointer: `${at}/url`,
          code: "spec.secret_in_open",
          detail: `${JSON.stringify(name)} looks like a secret, and a spec is stored in the open: where the receiver takes a header, put it into the secret "headers" of a connection of kind http`,
        })),
    ),
  };
}

const isSecretHeader = (name: string): boolean => SECRET_NAME.test(name.replaceAll("-", "_")) || /^cookie$/i.test(name);

/** Of a URL or a path. */
const queryNames = (url: string): string[] => [...new Set(new URLSearchParams(/\?([^#]*)/.exec(url)?.[1] ?? "").keys())];
