/** Time and ids come as arguments, so that tests own them. */
export interface Clock {
  /** Wall time in Unix milliseconds. */
  now(): number;
}
