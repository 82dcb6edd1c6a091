/**
 * Which OS user runs the server. PostgreSQL refuses to run as root, so root lends it to `postgres` (made when missing, `nobody` as the last resort).
 *
 * Invariant: the folders given to the server are reachable by that user; `reachable` proves it by trying, because modes alone do not tell (ACLs, mounts).
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { OneDataError } from "@onedata/core";

/** `undefined` = run as ourselves. */
export type OsUser = { readonly name: string; readonly uid: number; readonly gid: number };

export function chooseOsUser(): OsUser | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const user = findUser("postgres") ?? addUser() ?? findUser("nobody");
  if (user === undefined)
    throw new OneDataError(
      "config.problems",
      "the embedded Postgres cannot run as root and no user `postgres` could be made; run as an ordinary user",
    );
  return user;
}

/** Whether the user can read the file, tried as that user. */
export const reachable = (file: string, user: OsUser | undefined): boolean =>
  spawnSync("/bin/sh", ["-c", '[ -r "$1" ]', "sh", file], asUser(user)).status === 0;

/** Whether the user can pass through the folder, tried as that user. */
export const enterable = (folder: string, user: OsUser | undefined): boolean =>
  spawnSync("/bin/sh", ["-c", 'cd "$1"', "sh", folder], asUser(user)).status === 0;

export const asUser = (user: OsUser | undefined): { uid?: number; gid?: number; cwd: string } =>
  user === undefined ? { cwd: "/" } : { uid: user.uid, gid: user.gid, cwd: "/" };

function findUser(name: string): OsUser | undefined {
  const line = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .find((row) => row.startsWith(`${name}:`));
  const [, , uid, gid] = line?.split(":") ?? [];
  return uid === undefined || gid === undefined ? undefined : { name, uid: Number(uid), gid: Number(gid) };
}

function addUser(): OsUser | undefined {
  const tries: [string, string[]][] = [
    ["useradd", ["--system", "--no-create-home", "--shell", "/bin/sh", "postgres"]],
    ["adduser", ["-S", "-H", "postgres"]], // BusyBox
  ];
  for (const [command, args] of tries) {
    spawnSync(command, args, { stdio: "ignore" });
    const user = findUser("postgres");
    if (user !== undefined) return user;
  }
  return undefined;
}
