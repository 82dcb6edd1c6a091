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
  /** Whether the operator has named this host or address. */
  names(host: string): boolean;
};

/** The operator's list as text: entries separated by commas. */
export const readAddressList = (text: string): string[] =>
  text
    .split(",")
    .map((entry) => entry.trim())
    .filter((entry) => entry !== "");

/** What `private` in a list stands for: networks of one's own, and this machine. Never link-local addresses, where clouds keep their machines' credentials. */
const PRIVATE: ReadonlySet<string> = new Set(["private", "uniqueLocal", "loopback", "carrierGradeNat"]);

/** `allowed`: host names (`billing.internal`), addresses, CIDR ranges (`10.20.0.0/16`), or `private` for all private and loopback ones. Throws `config.problems` on what is none of them. */
export function createAddressPolicy(allowed: readonly string[] = []): AddressPolicy {
  const hosts = new Set<string>();
  const ranges: ReturnType<typeof ipaddr.parseCIDR>[] = [];
  let allowsPrivate = false;
  for (const entry of allowed) {
    const text = entry.trim().toLowerCase();
    if (text === "private") allowsPrivate = true;
    else if (text.includes("/")) ranges.push(parseRange(text));
    else if (isIP(text) !== 0) ranges.push(ipaddr.parseCIDR(`${text}/${isIP(text) === 4 ? 32 : 128}`));
    else hosts.add(text);
  }
  return {
    names(host) {
      if (hosts.has(host.toLowerCase())) return true;
      if (!ipaddr.isValid(host)) return false;
      const parsed = ipaddr.process(host);
      return (allowsPrivate && PRIVATE.has(parsed.range())) || ranges.some((range) => parsed.kind() === range[0].kind() && parsed.match(range));
    },
    allows(address, host) {
      if (!ipaddr.isValid(address)) return false;
      // A mapped IPv4 address is the IPv4 address.
      const parsed = ipaddr.process(address);
      return (
        parsed.range() === "unicast" ||
        (allowsPrivate && PRIVATE.has(parsed.range())) ||
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
