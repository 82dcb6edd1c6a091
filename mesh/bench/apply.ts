/** What a call costs beside the work: `Apply` with 500 records of 240 bytes, echoed, per transport. `node --conditions=source --import tsx mesh/bench/apply.ts` */
import { TransformServiceDefinition, transformV1 } from "@onedata/contracts";
import { bySharedSecret, createClient, createInprocDirectory, createServiceHost, listen, openTransport } from "@onedata/mesh";

const SECRET = "a-secret-for-benches";
const json = new TextEncoder().encode(JSON.stringify({ id: 1, price: 2.5, quantity: 3, customer: "c".repeat(180) }));
const records = Array.from({ length: 500 }, (_, n) => ({ n, json, timeUnixNanos: 1_700_000_000_000_000_000n }));
const request = { runId: "00000000-0000-0000-0000-000000000000", groups: [{ pipeline: "orders", version: 1, tenant: "1", steps: [], records }] };

const host = createServiceHost({ authenticate: bySharedSecret(SECRET) }).addPartial(TransformServiceDefinition, {
  async apply({ groups }) {
    return {
      results: groups.flatMap((group) =>
        group.records.map(({ n, json }) => ({ n, outcome: { $case: "outputs" as const, value: { json: [json] } } })),
      ),
    };
  },
});
const directory = createInprocDirectory();
await using inproc = await listen(host, "inproc:transform", { directory });
await using grpc = await listen(host, "127.0.0.1:0");

const time = async (name: string, count: number, work: () => unknown): Promise<void> => {
  for (let i = 0; i < count / 5; i++) await work();
  const startedAtMs = performance.now();
  const cpu = process.cpuUsage();
  for (let i = 0; i < count; i++) await work();
  const { user, system } = process.cpuUsage(cpu);
  console.log(
    `${name.padEnd(34)} ${(((performance.now() - startedAtMs) * 1000) / count).toFixed(0).padStart(6)} us   cpu ${((user + system) / count).toFixed(0).padStart(6)} us`,
  );
};

const complete = transformV1.ApplyRequest.fromPartial(request);
const bytes = transformV1.ApplyRequest.encode(complete).finish();
console.log(`request ${bytes.length} bytes`);
await time("fromPartial", 500, () => transformV1.ApplyRequest.fromPartial(request));
await time("encode", 500, () => transformV1.ApplyRequest.encode(complete).finish());
await time("decode", 500, () => transformV1.ApplyRequest.decode(bytes));
for (const { address } of [inproc, grpc]) {
  await using transport = await openTransport(address, { directory });
  const client = createClient(TransformServiceDefinition, transport, { caller: "engine", meshSecret: SECRET });
  await time(`Apply x500 over ${address.split(":")[0]}`, 300, () => client.apply(request));
  await time(`Apply x1 over ${address.split(":")[0]}`, 1000, () => client.apply({ groups: [{ records: records.slice(0, 1) }] }));
}
