/** The one request all cases send: a JSON event of about 200 bytes with the moment it was due, so that delays count from there. */

export type Target = { readonly host: string; readonly port: number; readonly token: string };

/** Milliseconds since the epoch by the machine's clock, which Postgres reads too. */
export const nowMs = (): number => performance.timeOrigin + performance.now();

/** All of one length: ids of 12 characters, moments of 17. */
export function toBody(prefix: string, number: number, dueMs: number): string {
  const id = prefix + String(number).padStart(12 - prefix.length, "0");
  return `{"id":"${id}","sent":${dueMs.toFixed(3)},"customer":"customer-${String(number % 1000).padStart(4, "0")}","product":"ceramic coffee mug, 0.3 l","quantity":${1 + (number % 9)},"price":12.5,"country":"de","note":"leave it with the neighbour, please"}`;
}

/** Everything before the body. */
export function toHead({ host, port, token }: Target, path: string): string {
  const length = Buffer.byteLength(toBody("a", 0, nowMs()));
  return `POST ${path} HTTP/1.1\r\nhost: ${host}:${port}\r\nauthorization: Bearer ${token}\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n`;
}
