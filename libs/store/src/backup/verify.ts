/**
 * `onedata backup verify`: whether what lies in the folder could be restored. Reads every byte of the copies and of the log.
 * Non-duty: proving that the server starts on it; only a restore does (`onedata restore` to another home is one).
 */
import { join } from "node:path";
import { type BaseCopy, listCopies } from "./backup-folder.ts";
import { type CopyOptions, hashFile, inParallel } from "./copy-files.ts";
import type { ManifestFile } from "./manifest.ts";
import { checkSegment, listSegments } from "./wal-files.ts";
import { followSegments } from "./wal-names.ts";

export type CopyReport = {
  readonly label: string;
  readonly files: number;
  readonly bytes: number;
  /** Segments from the copy's first on, without a gap: how far it can be carried. */
  readonly segments: number;
  readonly lastSegment: string | undefined;
  readonly problems: readonly string[];
};

export type VerifyReport = { readonly copies: readonly CopyReport[]; readonly problems: readonly string[] };

export type VerifyOptions = Pick<CopyOptions, "signal" | "onBytes">;

const MOST_PROBLEMS = 20;

/** Throws `backup.damaged` when the folder holds no backup at all; what is wrong with one is in the report. */
export async function verifyBackup(folder: string, options: VerifyOptions = {}): Promise<VerifyReport> {
  const { copies, damaged } = listCopies(folder);
  const checked = new Set<string>();
  const reports: CopyReport[] = [];
  for (const copy of copies) reports.push(await verifyCopy(folder, copy, checked, options));
  const problems = [...damaged.map(({ message }) => message), ...(copies.length === 0 ? [`${folder} has no finished base copy`] : [])];
  return { copies: reports, problems };
}

/** `checked` keeps the segments that several copies share from being read twice. */
async function verifyCopy(
  folder: string,
  { folder: copyFolder, manifest }: BaseCopy,
  checked: Set<string>,
  options: VerifyOptions,
): Promise<CopyReport> {
  const problems = [
    ...(await findChanged(join(copyFolder, "data"), manifest.files, options)),
    ...(await findChanged(join(copyFolder, "home"), manifest.home, options)),
  ];
  const names = listSegments(folder);
  const chain = followSegments(names, manifest.startWal, manifest.segmentBytes);
  if (manifest.kind === "embedded") {
    if (chain.last === undefined || chain.last < manifest.stopWal)
      problems.push(`the copy needs the log up to ${manifest.stopWal}, and wal/${chain.missing ?? "?"}.gz is missing`);
    else if (chain.missing !== undefined)
      problems.push(`wal/${chain.missing}.gz is missing though later ones are there: this copy can be carried no further than ${chain.last}`);
    const reachable = names.filter((name) => name >= manifest.startWal && chain.last !== undefined && name <= chain.last && !checked.has(name));
    await inParallel(reachable, async (name) => {
      options.signal?.throwIfAborted();
      checked.add(name);
      const problem = await checkSegment(folder, name, manifest);
      if (problem !== undefined) problems.push(problem);
      options.onBytes?.(manifest.segmentBytes);
    });
  }
  return {
    label: manifest.label,
    files: manifest.files.length,
    bytes: manifest.files.reduce((sum, { bytes }) => sum + bytes, 0),
    segments: chain.count,
    lastSegment: chain.last,
    problems: problems.slice(0, MOST_PROBLEMS),
  };
}

async function findChanged(root: string, files: readonly ManifestFile[], options: VerifyOptions): Promise<string[]> {
  const problems: string[] = [];
  await inParallel(files, async ({ path, bytes, sha256 }) => {
    const found = await hashFile(join(root, path), options);
    if (found === undefined) problems.push(`${join(root, path)} is missing`);
    else if (found.bytes !== bytes) problems.push(`${join(root, path)} has ${found.bytes} bytes instead of ${bytes}`);
    else if (found.sha256 !== sha256) problems.push(`${join(root, path)} has changed`);
  });
  return problems;
}
