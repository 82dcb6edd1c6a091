/** Cuts what is to be published into requests of bounded size, and sorts out what no request may carry. */
import { MAX_BODY_BYTES } from "./broker.ts";

export type NumberedBody = { readonly n: number; readonly body: Uint8Array };

export function splitBodies(
  bodies: readonly Uint8Array[],
  limit: { readonly bodies: number; readonly bytes: number },
): { readonly chunks: readonly (readonly NumberedBody[])[]; readonly refused: ReadonlyMap<number, string> } {
  const refused = new Map<number, string>();
  const chunks: NumberedBody[][] = [];
  let chunk: NumberedBody[] = [];
  let bytes = 0;
  for (const [n, body] of bodies.entries()) {
    if (body.length === 0 || body.length > MAX_BODY_BYTES) {
      refused.set(n, `a message has 1 to ${MAX_BODY_BYTES} bytes, not ${body.length}`);
      continue;
    }
    if (chunk.length > 0 && (chunk.length === limit.bodies || bytes + body.length > limit.bytes)) {
      chunks.push(chunk);
      chunk = [];
      bytes = 0;
    }
    chunk.push({ n, body });
    bytes += body.length;
  }
  if (chunk.length > 0) chunks.push(chunk);
  return { chunks, refused };
}
