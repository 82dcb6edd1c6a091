/**
 * One instance per home: a second one would share the first one's database and stop it when it ends.
 * Invariants: the lock of a process that was killed is taken over; a recycled process id is told apart by the process's start time (Linux).
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { OneDataError } from "@onedata/core";

/** Makes the folder when it is missing. Throws `config.problems` when it cannot be written, or another instance lives in it. */
export function lockHome(folder: string): AsyncDisposable {
  const file = join(folder, "lock");
  const own = describeProcess(process.pid) ?? String(process.pid);
  try {
    mkdirSync(folder, { recursive: true });
    take(file, folder, own);
  } catch (cause) {
    if (cause instanceof OneDataError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new OneDataError("config.problems", `the home ${folder} cannot be used: ${reason}\nset ONEDATA_HOME to a folder that this user may write`, {
      cause,
    });
  }
  return {
    async [Symbol.asyncDispose]() {
      if (read(file) === own) rmSync(file, { force: true });
    },
  };
}

function take(file: string, folder: string, own: string): void {
  for (let attempt = 0; attempt < 3; attempt++) {
    try {
      writeFileSync(file, own, { flag: "wx", mode: 0o600 });
      return;
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
    }
    const holder = read(file);
    const pid = Number(holder?.split(" ")[0]);
    if (holder !== undefined && holder !== own && Number.isInteger(pid) && describeProcess(pid) === holder) {
      throw new OneDataError(
        "config.problems",
        `another OneData (process ${pid}) runs in ${folder}: stop it, or choose another folder with ONEDATA_HOME`,
      );
    }
    rmSync(file, { force: true });
  }
  throw new OneDataError("config.problems", `${file} is fought over: start one OneData at a time`);
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

/** Tells the process apart from a later one of the same id. Undefined when there is none any more; a zombie is none. */
export function describeProcess(pid: number): string | undefined {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EPERM")) return undefined;
  }
  try {
    // proc(5): after the name in parentheses come the state and, 19 fields later, the start time.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ") ?? [];
    return fields[0] === "Z" ? undefined : `${pid} ${fields[19] ?? ""}`;
  } catch {
    return String(pid); // no /proc here
  }
}
