/**
 * Through which channels an installation's pointers go: one that all engines share, or, where a broker's channel bears one receiver alone, one per living engine.
 * Seats are numbered by the order of the living engines, so that names are few and used again; seat 0 is the shared channel's name.
 * Engines learn of each other with their leases. Until then two may sit on one seat, or a message may lie where nobody sits: polling and the relay's sweeper find
 * its batches, as they do for any message that is lost.
 *
 * Also here, from the same order: whose relay looks at every wake-up.
 */
import type { Broker } from "@onedata/broker";

export type Seats = { readonly channels: readonly string[]; readonly own: string };

/** The shared channel; installations may share a broker. */
export const channelOf = (installation: string): string => `onedata.${installation.toLowerCase().replaceAll(/[^a-z0-9]/g, "")}.pointers`;

/** `engines`: all living ones, in an order that all of them see. */
export function seatsOf(channel: string, receivers: Broker["receivers"], engines: readonly string[], incarnation: string): Seats {
  if (receivers === "many" || engines.length < 2) return { channels: [channel], own: channel };
  const channels = engines.map((_, seat) => (seat === 0 ? channel : `${channel}.${seat}`));
  return { channels, own: channels[engines.indexOf(incarnation)] ?? channel };
}

/**
 * The channels in the order in which messages go to them: an idle engine's relay begins with its own seat, a busy one's ends with it. (Idle relays turn more often,
 * so a single message goes to an engine that waits for it.) The others take turns.
 */
export function inTurn({ channels, own }: Seats, isBusy: boolean, turn: number): readonly string[] {
  const others = channels.filter((channel) => channel !== own);
  const first = others.length === 0 ? 0 : turn % others.length;
  const rotated = [...others.slice(first), ...others.slice(0, first)];
  return isBusy ? [...rotated, own] : [own, ...rotated];
}

const LOOK_AT_ONCE = 2;

/**
 * The two longest living engines' relays look at every wake-up, the others at their next poll: of many that look at once all but one do so in vain, at half a
 * millisecond of the database each. Two, since one may be busy or dead.
 */
export const looksAtOnce = (engines: readonly string[], incarnation: string): boolean => engines.indexOf(incarnation) < LOOK_AT_ONCE;
