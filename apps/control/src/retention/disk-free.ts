/** Free space on the disk of the database, where that can be seen from here. */
import { statfs } from "node:fs/promises";

/** A folder that cannot be looked at counts as unknown: 0, as in the contract. */
export function readDiskFreeOf(folder: string | undefined): (() => Promise<number>) | undefined {
  if (folder === undefined) return undefined;
  return async () => {
    try {
      const { bavail, bsize } = await statfs(folder);
      return bavail * bsize;
    } catch {
      return 0;
    }
  };
}
