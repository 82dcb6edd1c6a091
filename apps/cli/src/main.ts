/** `onedata`: OneData on the command line. Ctrl-C stops what runs; a second one ends at once. */
import { runCli } from "./cli.ts";

const stop = new AbortController();
process.on("SIGINT", () => {
  if (stop.signal.aborted) process.exit(130);
  stop.abort();
});
process.on("SIGTERM", () => stop.abort());
// `onedata outputs orders | head` closes the pipe: nobody reads any more, which is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));

process.exitCode = await runCli(process.argv.slice(2), {
  env: process.env,
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  signal: stop.signal,
});
// A read of stdin that was given up would keep the process alive.
if (stop.signal.aborted) process.stdin.destroy();
