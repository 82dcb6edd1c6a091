/** JSON for people: what is longer than 4 KiB is shown as a text of its beginning, which is JSON again. */
const MAX_BYTES = 4 * 1024;

export function shorten(json: string): string {
  if (Buffer.byteLength(json) <= MAX_BYTES) return json;
  // A character has three bytes at most per UTF-16 unit, escaped ones up to six; the cut leaves room for them.
  for (let length = MAX_BYTES - 100; ; length = Math.floor(length / 2)) {
    const text = JSON.stringify(`${json.slice(0, length).replace(/[\ud800-\udbff]$/, "")}… (${Buffer.byteLength(json)} bytes)`);
    if (Buffer.byteLength(text) <= MAX_BYTES) return text;
  }
}
