/** Numbers as the text of a Postgres array: the client would send a list of bigints as one bigint. */
export const toArray = (values: readonly (bigint | number)[]): string => `{${values.join(",")}}`;
