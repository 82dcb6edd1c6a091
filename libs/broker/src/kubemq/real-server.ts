/** The real KubeMQ that tests may use, from `KUBEMQ_ADDRESS` (host:port). Says so when there is none: a leg that is skipped is a leg that proves nothing. */
export function realKubemq(what: string): string | undefined {
  const address = process.env["KUBEMQ_ADDRESS"];
  if (address !== undefined && address !== "") return address;
  console.log(`SKIPPED: ${what} on a real KubeMQ; KUBEMQ_ADDRESS=host:50000 npx vitest run libs/broker/src/kubemq runs it`);
  return undefined;
}
