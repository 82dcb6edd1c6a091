/** Names of WAL segments: 8 hexadecimal digits each for the timeline, the upper and the lower part of the position (PostgreSQL's `XLogFileName`). */

/** `index` counts segments from the start of the log, whatever the timeline. */
export type Segment = { readonly timeline: number; readonly index: bigint };

export function parseSegment(name: string, segmentBytes: number): Segment | undefined {
  const found = /^([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})$/.exec(name);
  if (found === null) return undefined;
  const [upper, lower] = [BigInt(`0x${found[2]}`), BigInt(`0x${found[3]}`)];
  return { timeline: Number.parseInt(found[1] ?? "", 16), index: upper * perUpper(segmentBytes) + lower };
}

export function formatSegment({ timeline, index }: Segment, segmentBytes: number): string {
  const per = perUpper(segmentBytes);
  return [BigInt(timeline), index / per, index % per].map((part) => part.toString(16).toUpperCase().padStart(8, "0")).join("");
}

/** The last of the segments of `timeline` that follow `first` without a gap, and the first that is missing though later ones are there. */
export function followSegments(
  names: Iterable<string>,
  first: string,
  segmentBytes: number,
): { readonly count: number; readonly last: string | undefined; readonly missing: string | undefined } {
  const start = parseSegment(first, segmentBytes);
  if (start === undefined) return { count: 0, last: undefined, missing: first };
  const there = new Set<bigint>();
  let highest = start.index - 1n;
  for (const name of names) {
    const segment = parseSegment(name, segmentBytes);
    if (segment === undefined || segment.timeline !== start.timeline || segment.index < start.index) continue;
    there.add(segment.index);
    if (segment.index > highest) highest = segment.index;
  }
  let index = start.index;
  while (there.has(index)) index += 1n;
  const at = (position: bigint): string => formatSegment({ timeline: start.timeline, index: position }, segmentBytes);
  return {
    count: Number(index - start.index),
    last: index === start.index ? undefined : at(index - 1n),
    missing: index <= highest || index === start.index ? at(index) : undefined,
  };
}

const perUpper = (segmentBytes: number): bigint => 0x1_0000_0000n / BigInt(segmentBytes);
