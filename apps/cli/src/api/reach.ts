/** `fetch`, with errors that say what to do. Throws a `Failure` with exit code 3 when nobody answers. */
import { exitCodes, Failure } from "../failure.ts";

export async function reach(url: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(url, init);
  } catch (error) {
    throw unreachable(url, error);
  }
}

/** Aborts pass through. */
export function unreachable(url: string, error: unknown): unknown {
  if (error instanceof Error && error.name === "AbortError") return error;
  const { origin } = new URL(url);
  if (error instanceof Error && error.name === "TimeoutError") return new Failure(`${origin} did not answer in time`, exitCodes.unreachable, error);
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : cause instanceof Error ? cause.message : String(cause);
  return new Failure(
    `cannot reach ${origin} (${code}): is it running? \`npm start\` starts it here, \`onedata login\` chooses another server`,
    exitCodes.unreachable,
    error,
  );
}
