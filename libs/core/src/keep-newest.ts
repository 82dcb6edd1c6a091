/** Sets the key, as the newest of the map, and removes the oldest keys above `most`. With every read set again, a map keeps what was used last. */
export function keepNewest<K, V>(map: Map<K, V>, key: K, value: V, most: number): void {
  // A map keeps insertion order: the front is the oldest.
  map.delete(key);
  map.set(key, value);
  for (const oldest of map.keys()) {
    if (map.size <= most) break;
    map.delete(oldest);
  }
}
