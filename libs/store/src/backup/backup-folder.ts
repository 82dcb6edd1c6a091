/**
 * The folder that `onedata backup` fills.
 *   base/<label>/   base copies: data/, home/ (keys and credentials), manifest.json; a name with a dot in front is one that was not finished
 *   wal/            the archived log, written by the database server
 *   owner           which server may write to wal/
 *   backup.json     which database it is
 * Invariant: one server writes to it. A restored server takes over from the one it replaces, whose pushes are refused from then on; a server that is not
 * ahead of what is there does not get in.
 */
import { randomUUID } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { OneDataError } from "@onedata/core";
import { chooseOsUser, enterable, reachable } from "../embedded/os-user.ts";
import { type Manifest, readManifest } from "./manifest.ts";
import { makeFolder, syncFolder, writeOwnedSynced } from "./synced-files.ts";

export type BaseCopy = { readonly folder: string; readonly manifest: Manifest };

/** Makes what is missing. Throws `config.problems` when the server's OS user cannot write there, or the data itself lies around it. */
export function prepareFolder(path: string, dataDir: string): string {
  const folder = resolve(path);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const real = realpathSync(folder);
  const data = realpathSync(dataDir);
  if (real === data || real.startsWith(`${data}/`) || data.startsWith(`${real}/`))
    throw new OneDataError(
      "config.problems",
      `${folder} and the database's data in ${dataDir} lie within each other: choose a folder on another disk`,
    );
  const user = chooseOsUser();
  makeFolder(join(real, "base"));
  makeFolder(join(real, "wal"), user);
  if (user !== undefined && !enterable(join(real, "wal"), user)) {
    chmodSync(real, (statSync(real).mode & 0o777) | 0o011);
    if (!enterable(join(real, "wal"), user))
      throw new OneDataError(
        "config.problems",
        `the OS user ${user.name}, who runs the database server, cannot enter ${real}: give it the right to (chmod o+x on the folders above), or choose another folder`,
      );
  }
  syncFolder(real);
  return real;
}

/** Whether a lost disk takes both. */
export const isOnSameDisk = (folder: string, dataDir: string): boolean => statSync(folder).dev === statSync(dataDir).dev;

/** Finished copies, oldest first. Those whose manifest is damaged are named in `damaged`. */
export function listCopies(folder: string): { readonly copies: readonly BaseCopy[]; readonly damaged: readonly OneDataError[] } {
  const base = join(folder, "base");
  if (!existsSync(base)) throw new OneDataError("backup.damaged", `${folder} is no folder of \`onedata backup\`: it has no base/`);
  const copies: BaseCopy[] = [];
  const damaged: OneDataError[] = [];
  for (const name of readdirSync(base)
    .filter((entry) => !entry.startsWith("."))
    .sort()) {
    try {
      copies.push({ folder: join(base, name), manifest: readManifest(join(base, name)) });
    } catch (error) {
      damaged.push(OneDataError.from(error));
    }
  }
  return { copies: copies.sort((a, b) => a.manifest.stoppedAt.localeCompare(b.manifest.stoppedAt)), damaged };
}

type Claim = { readonly ownerFile: string; readonly systemIdentifier: string; readonly timeline: number };

/** Returns the name under which this server may push. Throws `backup.failed` when the folder belongs to another database or to a server that is ahead. */
export function claimFolder(folder: string, { ownerFile, systemIdentifier, timeline }: Claim): string {
  const about = readText(join(folder, "backup.json"));
  const known: unknown = about === undefined ? undefined : JSON.parse(about);
  const system = typeof known === "object" && known !== null && "systemIdentifier" in known ? known.systemIdentifier : undefined;
  if (known !== undefined && system !== systemIdentifier)
    throw new OneDataError(
      "backup.failed",
      `${folder} holds backups of another database (${String(system)}, not ${systemIdentifier}): choose another folder`,
    );
  const user = chooseOsUser();
  if (known === undefined)
    writeOwnedSynced(join(folder, "backup.json"), Buffer.from(`${JSON.stringify({ format: 1, systemIdentifier })}\n`), undefined);
  const holder = readText(join(folder, "owner"));
  const own = readText(ownerFile) ?? randomUUID();
  if (holder !== own) {
    const ahead = holder === undefined ? undefined : listCopies(folder).copies.find(({ manifest }) => manifest.timeline >= timeline);
    if (ahead !== undefined)
      throw new OneDataError(
        "backup.failed",
        `another server with this data writes to ${folder} (timeline ${ahead.manifest.timeline}, this one is on ${timeline}): choose another folder`,
      );
    writeOwnedSynced(ownerFile, Buffer.from(`${own}\n`), undefined);
    writeOwnedSynced(join(folder, "owner"), Buffer.from(`${own}\n`), user);
  }
  if (user !== undefined && !reachable(join(folder, "owner"), user))
    throw new OneDataError(
      "config.problems",
      `the OS user ${user.name} cannot read ${join(folder, "owner")}; it must be able to enter ${dirname(folder)}`,
    );
  return own;
}

function readText(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}
