/**
 * Which addresses a tenant's URL may lead to: public ones, and what the operator has allowed.
 * Applied to the address that is connected to, not to the name, so a name that resolves differently the second time gains nothing.
 */
import { isIP } from "node:net";
import { OneDataError } from "@onedata/core";
import ipaddr from "ipaddr.js";

export type AddressPolicy = {
  /** Of an address, for a URL that named `host`. */
  allows(address: string, host: string): boolean;
};

/** `allowed`: host names (`billing.internal`), addresses, or CIDR ranges (`10.20.0.0/16`). Throws `config.problems` on what is none of them. */
export function createAddressPolicy(allowed: readonly string[] = []): AddressPolicy {
  const hosts = new Set<string>();
  const ranges: ReturnType<typeof ipaddr.parseCIDR>[] = [];
  for (const entry of allowed) {
    const text = entry.trim().toLowerCase();
    if (text.includes("/")) ranges.push(parseRange(text));
    else if (isIP(text) !== 0) ranges.push(ipaddr.parseCIDR(`${text}/${isIP(text) === 4 ? 32 : 128}`));
    else hosts.add(text);
  }
  return {
    allows(address, host) {
      if (!ipaddr.isValid(address)) return false;
      // A mapped IPv4 address is the IPv4 address.
      const parsed = ipaddr.process(address);
      return (
        parsed.range() === "unicast" ||
        hosts.has(host.toLowerCase()) ||
        ranges.some((range) => parsed.kind() === range[0].kind() && parsed.match(range))
      );
    },
  };
}

function parseRange(text: string): ReturnType<typeof ipaddr.parseCIDR> {
  try {
    return ipaddr.parseCIDR(text);
  } catch (cause) {
    throw new OneDataError("config.problems", `the allowed address ${JSON.stringify(text)} is no range: write it as 10.20.0.0/16`, { cause });
  }
}
