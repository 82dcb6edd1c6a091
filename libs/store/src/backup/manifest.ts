/**
 * What a base copy consists of, with a hash of every file: `manifest.json` beside the copied data, and its own hash in `manifest.sha256`.
 * Invariant: it is written last and synced, before the copy's folder gets its final name; a copy without a manifest that matches does not exist.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { OneDataError } from "@onedata/core";
import { writeSynced } from "./synced-files.ts";

export type ManifestFile = { readonly path: string; readonly bytes: number; readonly sha256: string };

export type Manifest = {
  readonly format: 1;
  /** `external`: made by pg_basebackup, restored by the server's own tools. */
  readonly kind: "embedded" | "external";
  readonly label: string;
  /** The database's clock. A restore to a time before `stoppedAt` needs an older copy. */
  readonly startedAt: string;
  readonly stoppedAt: string;
  readonly systemIdentifier: string;
  readonly serverVersion: number;
  readonly timeline: number;
  readonly segmentBytes: number;
  /** First and last WAL segment that the copy needs to be whole. */
  readonly startWal: string;
  readonly stopWal: string;
  readonly directories: readonly string[];
  /** Below `data/`. */
  readonly files: readonly ManifestFile[];
  /** Below `home/`: keys and credentials. */
  readonly home: readonly ManifestFile[];
};

export function writeManifest(folder: string, manifest: Manifest): void {
  const text = `${JSON.stringify(manifest, null, 1)}\n`;
  writeSynced(join(folder, "manifest.json"), text);
  writeSynced(join(folder, "manifest.sha256"), `${sha256(text)}\n`);
}

/** Throws `backup.damaged` when it is missing, changed, or of a format that this version does not know. */
export function readManifest(folder: string): Manifest {
  const damaged = (what: string, cause?: unknown): OneDataError =>
    new OneDataError("backup.damaged", `${folder}: ${what}`, cause === undefined ? {} : { cause });
  let text: string;
  let hash: string;
  try {
    text = readFileSync(join(folder, "manifest.json"), "utf8");
    hash = readFileSync(join(folder, "manifest.sha256"), "utf8").trim();
  } catch (cause) {
    throw damaged("its manifest cannot be read", cause);
  }
  if (sha256(text) !== hash) throw damaged("manifest.json does not match manifest.sha256");
  const manifest: unknown = JSON.parse(text);
  if (!isManifest(manifest)) throw damaged("its manifest has a format that this version does not know");
  return manifest;
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** The hash has shown that it is what was written; only the format can differ. */
const isManifest = (value: unknown): value is Manifest => typeof value === "object" && value !== null && "format" in value && value.format === 1;
