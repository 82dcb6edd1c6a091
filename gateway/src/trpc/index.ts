/** For consumers of the tRPC face: the router's type and the transformer for their links. Browser-safe; imports no server code. */
export type { AppRouter, ErrorShape } from "./app-router.ts";
export { transformer } from "./transformer.ts";
