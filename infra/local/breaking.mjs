// buf breaking against the last commit of main that has protos; the first commit of a repository has nothing to break.
import { spawnSync } from "node:child_process";

const git = (...args) => spawnSync("git", args, { encoding: "utf8" });
const base = ["origin/main", "main"].find((ref) => git("cat-file", "-e", `${ref}:proto/onedata/policy/v1/policy.proto`).status === 0);
if (base === undefined) {
  console.log("no earlier protos to compare with");
  process.exit(0);
}
// Not the directory of a worktree, which holds no branches.
const gitDir = git("rev-parse", "--path-format=absolute", "--git-common-dir").stdout.trim();
const run = spawnSync("node_modules/.bin/buf", ["breaking", "--against", `${gitDir}#branch=${base}`], { encoding: "utf8" });
process.stdout.write(run.stdout + run.stderr);
process.exit(run.status ?? 1);
