/** What changed between two specs, as a list for people: add, remove, replace, each with its JSON Pointer. Items of lists are compared by their id or name where they have one. */
import { canonicalJson, isJsonObject, type Json, type JsonObject, toPointer } from "@onedata/core";
import { stringifyJson } from "@onedata/formats";

/** `before` and `after` are JSON, empty where there is none. */
export type SpecChange = { readonly op: "add" | "remove" | "replace"; readonly pointer: string; readonly before: string; readonly after: string };

const MAX_CHANGES = 500;

export function diffSpecs(before: Json, after: Json): SpecChange[] {
  const changes: SpecChange[] = [];
  const note = (path: readonly (string | number)[], from: Json | undefined, to: Json | undefined): void => {
    if (changes.length >= MAX_CHANGES) return;
    changes.push({
      op: from === undefined ? "add" : to === undefined ? "remove" : "replace",
      pointer: toPointer(path),
      before: from === undefined ? "" : stringifyJson(from),
      after: to === undefined ? "" : stringifyJson(to),
    });
  };
  const compare = (path: readonly (string | number)[], from: Json | undefined, to: Json | undefined): void => {
    if (from === undefined || to === undefined) {
      if (from !== to) note(path, from, to);
    } else if (isJsonObject(from) && isJsonObject(to)) {
      for (const name of new Set([...Object.keys(from), ...Object.keys(to)])) compare([...path, name], own(from, name), own(to, name));
    } else if (Array.isArray(from) && Array.isArray(to)) {
      compareLists(path, from, to);
    } else if (canonicalJson(from) !== canonicalJson(to)) {
      note(path, from, to);
    }
  };
  /** By id where all items have one, else by place. A pointer of an added or changed item is its place in the new list. */
  const compareLists = (path: readonly (string | number)[], from: readonly Json[], to: readonly Json[]): void => {
    const ids = [identities(from), identities(to)] as const;
    if (ids[0] === undefined || ids[1] === undefined) {
      for (let i = 0; i < Math.max(from.length, to.length); i++) compare([...path, i], from[i], to[i]);
      return;
    }
    for (const [i, id] of ids[0].entries()) if (!ids[1].includes(id)) note([...path, i], from[i], undefined);
    for (const [i, id] of ids[1].entries()) {
      const was = ids[0].indexOf(id);
      compare([...path, i], was < 0 ? undefined : from[was], to[i]);
    }
    const kept = [ids[0].filter((id) => ids[1]?.includes(id)), ids[1].filter((id) => ids[0]?.includes(id))];
    if (String(kept[0]) !== String(kept[1])) note(path, ids[0], ids[1]);
  };
  compare([], before, after);
  return changes;
}

const own = (object: JsonObject, name: string): Json | undefined => (Object.hasOwn(object, name) ? object[name] : undefined);

function identities(list: readonly Json[]): string[] | undefined {
  const ids = list.map((item) => (isJsonObject(item) ? (item["id"] ?? item["name"]) : undefined));
  const names = ids.filter((id) => typeof id === "string");
  return names.length === list.length && new Set(names).size === names.length ? names : undefined;
}
