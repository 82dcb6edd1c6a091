/** The pipelines of the bench: three steps on the transform service, and a sink. */
import type { World } from "../world/world.ts";

export type SinkKind = "postgres.upsert" | "onedata.outputs";

const TABLE = "bench_sink";

export async function makeSinkTable(world: World): Promise<void> {
  await world.warehouse.unsafe(
    `create table ${TABLE} (id text primary key, customer text, product text, quantity int, total numeric, country text, sent double precision);
     alter table ${TABLE} owner to warehouse`,
  );
}

/** Answers the paths that capture into them. */
export async function applyPipelines(world: Pick<World, "api">, names: readonly string[], sink: SinkKind): Promise<readonly string[]> {
  for (const name of names) {
    const answer = await world.api.send("PUT", `/v1/pipelines/${name}`, specOf(name, sink));
    if (answer.status !== 200) throw new Error(`the pipeline ${name} was not applied: ${answer.text}`);
  }
  return names.map((name) => `/v1/pipelines/${name}/events`);
}

const specOf = (name: string, sink: SinkKind): object => ({
  name,
  steps: [
    { id: "total", use: "record.map", with: { set: { total: "price * quantity" } } },
    {
      id: "valid",
      use: "record.validate",
      with: {
        schema: {
          type: "object",
          required: ["id", "customer", "total"],
          properties: { id: { type: "string" }, quantity: { type: "integer", minimum: 1 }, total: { type: "number", minimum: 0 } },
        },
      },
    },
    { id: "country", use: "record.map", with: { set: { country: "$uppercase(country)" } } },
  ],
  sinks: [
    sink === "onedata.outputs"
      ? { use: sink }
      : {
          use: sink,
          with: {
            connection: "warehouse",
            table: TABLE,
            key: ["id"],
            columns: Object.fromEntries(["id", "customer", "product", "quantity", "total", "country", "sent"].map((column) => [column, column])),
          },
        },
  ],
});
