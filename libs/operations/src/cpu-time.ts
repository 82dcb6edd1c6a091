/** For tests of bounded work. Milliseconds of processor time that this process has used: unlike the clock, no other process's load adds to it. */
export function cpuTimeMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}
