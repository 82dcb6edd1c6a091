/** Outputs one record may have at any point of a chain. */
export const MAX_OUTPUTS_PER_RECORD = 10_000;
