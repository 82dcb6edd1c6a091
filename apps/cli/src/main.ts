/** `onedata`: OneData on the command line. Ctrl-C stops what runs; a second one ends at once. */
import { runCli } from "./cli.ts";

const stop = new AbortController();
process.on("SIGINT", () => {
  if (stop.signal.aborted) process.exit(130);
  stop.abort();
});
process.on("SIGTERM", () => stop.abort());
// Whoever waits for input is told that none will come.
stop.signal.addEventListener("abort", () => process.stdin.destroy());
// `onedata outputs orders | head` closes the pipe: nobody reads any more, which is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));

process.exitCode = await runCli(process.argv.slice(2), {
  env: process.env,
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  signal: stop.signal,
});
