/**
 * Where a tenant's database may be: the name is resolved here and the connection is made to the address that was looked at, so a name that resolves
 * differently the second time gains nothing.
 */
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { OneDataError } from "@onedata/core";
import type { AddressPolicy } from "../http-post/address-policy.ts";

/** The addresses of `host` that may be connected to, in the resolver's order. Throws `sink.unavailable`: it waits until the connection or the policy is changed. */
export async function reach(policy: AddressPolicy, host: string, address: string): Promise<readonly string[]> {
  const found = isIP(host) === 0 ? (await resolve(host)).map((each) => each.address) : [host];
  const allowed = found.filter((each) => policy.allows(each, host));
  if (allowed.length > 0) return allowed;
  throw new OneDataError(
    "sink.unavailable",
    `${address} is, or resolves to, a private or local address, which connections may not reach: use a public address, or let the operator allow it (allowedDatabaseAddresses)`,
  );
}

async function resolve(host: string): Promise<readonly { readonly address: string }[]> {
  try {
    return await lookup(host, { all: true });
  } catch (cause) {
    throw new OneDataError("sink.unavailable", `the host ${JSON.stringify(host)} cannot be resolved`, { cause });
  }
}
