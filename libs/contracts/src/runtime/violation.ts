/** One thing wrong: where (JSON Pointer, RFC 6901), which rule, what is expected. */
export type ContractViolation = { readonly pointer: string; readonly code: string; readonly detail: string };
