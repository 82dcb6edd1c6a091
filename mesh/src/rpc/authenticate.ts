/**
 * Which workload calls. Default deny: without the mesh secret, or without an identity that the mesh's proxy has vouched for, there is no call.
 * Non-duty: whether that workload may call the method (the service's policy says so, `service-host.ts` checks).
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { OneDataError } from "@onedata/core";
import { HEADER, type Metadata } from "./metadata.ts";

/** Answers the calling workload; throws `auth.unauthenticated`. */
export type Authenticate = (metadata: Metadata) => string;

/** Where there is no mesh: a secret that all workloads of an installation share. */
export function bySharedSecret(secret: string): Authenticate {
  if (secret.length < 16) throw new OneDataError("config.problems", "the mesh secret must have at least 16 characters");
  const expected = digest(secret);
  return (metadata) => {
    const given = metadata[HEADER.meshSecret];
    if (given === undefined || !timingSafeEqual(digest(given), expected)) {
      throw new OneDataError(
        "auth.unauthenticated",
        `the call carries ${given === undefined ? "no" : "a wrong"} mesh secret; all workloads of an installation share one`,
      );
    }
    return metadata[HEADER.caller] ?? "";
  };
}

/** In a Linkerd mesh: the service account in `l5d-client-id`, which only the proxy can set on meshed, authenticated connections. */
export function byMeshIdentity(): Authenticate {
  return (metadata) => {
    const match = /^([a-z0-9-]+)\.[a-z0-9-]+\.serviceaccount\.identity\./.exec(metadata[HEADER.meshIdentity] ?? "");
    if (match?.[1] === undefined) throw new OneDataError("auth.unauthenticated", "the call carries no mesh identity; is the caller meshed?");
    return match[1];
  };
}

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
