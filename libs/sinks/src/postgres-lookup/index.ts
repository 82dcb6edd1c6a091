export { readAddressList } from "../http-post/address-policy.ts";
export { identityOfUrl } from "../postgres/pools.ts";
export type { LookupCaller, LookupProblem } from "./lookup.ts";
export { createPostgresLookups, type PostgresLookups } from "./postgres-lookups.ts";
