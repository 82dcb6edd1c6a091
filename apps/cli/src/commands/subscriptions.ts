/** `subscriptions`: who is told by webhook when a pipeline needs a person. The signing secret is shown once. */
import type { CreateSubscriptionResponse, Subscription, subscriptionV1 } from "@onedata/contracts";
import { isJsonObject, type JsonObject } from "@onedata/core";
import { type Command, Option } from "commander";
import { segment } from "../api/api.ts";
import { Exit, exitCodes } from "../failure.ts";
import { cell, number, objects, type Row, time } from "../output/cells.ts";
import { paintState } from "../output/style.ts";
import type { OpenSession, Session } from "../session.ts";
import { toCount } from "./arguments.ts";

const TOPICS = [
  "pipeline.paused",
  "pipeline.blocked",
  "pipeline.unblocked",
  "import.stopped",
  "dead_letters.grew",
  "retention.blocked",
  "retention.unblocked",
];
const at = (id: string, rest = ""): string => `/v1/subscriptions/${segment(id)}${rest}`;

export function addSubscriptionCommands(program: Command, open: OpenSession): void {
  const family = program.command("subscriptions").description("webhooks: who is told when a pipeline needs a person");
  addReadCommands(family, open);
  family
    .command("add <url>")
    .description("subscribe an address; the secret its messages are signed with is shown once")
    .addOption(new Option("--topic <topic...>", "only of these topics").choices(TOPICS))
    .option("--pipeline <pipeline...>", "only of these pipelines")
    .addHelpText("after", "\nExample:\n  onedata subscriptions add https://hooks.example.com/onedata --topic pipeline.paused dead_letters.grew")
    .action(async (url: string, { topic = [], pipeline = [] }: { topic?: string[]; pipeline?: string[] }, command: Command) => {
      const session = open(command);
      const made = await session.api().call("POST", "/v1/subscriptions", { body: { url, topics: topic, pipelines: pipeline } });
      await printSecret(session, made);
      const { subscription } = made;
      if (isJsonObject(subscription)) session.out.note(`try it: onedata subscriptions test ${cell(subscription["id"])}`);
    });
  family
    .command("test <subscription>")
    .description("send a test message now and show what came back")
    .addHelpText("after", "\nExample:\n  onedata subscriptions test sub_1")
    .action(async (id: string, _options: object, command: Command) => {
      const { api, out } = open(command);
      const delivery: Row<subscriptionV1.Delivery> & JsonObject = await api().call("POST", at(id, ":test"), { body: {} });
      const isDelivered = delivery.state === "delivered";
      if (out.isJson) await out.json(delivery);
      else await out.line(`${isDelivered ? out.style.green("delivered") : out.style.red("not delivered")}: ${cell(delivery.result)}`);
      if (!isDelivered) throw new Exit(exitCodes.problem);
    });
  family
    .command("rotate <subscription>")
    .description("make a new signing secret; the old one signs too for a day")
    .addHelpText("after", "\nExample:\n  onedata subscriptions rotate sub_1")
    .action(async (id: string, _options: object, command: Command) => {
      const session = open(command);
      await printSecret(session, await session.api().call("POST", at(id, ":rotate"), { body: {} }));
      session.out.note("for a day messages carry a signature of the old secret too");
    });
  for (const [name, enabled] of [
    ["enable", true],
    ["disable", false],
  ] as const) {
    family
      .command(`${name} <subscription>`)
      .description(enabled ? "send messages again" : "send no messages; what waits is given up")
      .addHelpText("after", `\nExample:\n  onedata subscriptions ${name} sub_1`)
      .action(async (id: string, _options: object, command: Command) => {
        const { api, out } = open(command);
        const { url, topics, pipelines }: Row<Subscription> & JsonObject = await api().get(at(id));
        const body = { url: url ?? "", topics: topics ?? [], pipelines: pipelines ?? [], enabled };
        const answer = await api().call("PUT", at(id), { body });
        if (out.isJson) await out.json(answer);
        else out.note(`${id} is ${name}d`);
      });
  }
  family
    .command("remove <subscription>")
    .description("end a subscription, with what waits")
    .addHelpText("after", "\nExample:\n  onedata subscriptions remove sub_1")
    .action(async (id: string, _options: object, command: Command) => {
      const { api, out } = open(command);
      await api().call("DELETE", at(id));
      out.note(`${id} is removed`);
    });
}

function addReadCommands(family: Command, open: OpenSession): void {
  family
    .command("list", { isDefault: true })
    .description("every subscription, and what is wrong with it")
    .addHelpText("after", "\nExample:\n  onedata subscriptions list")
    .action(async (_options: object, command: Command) => {
      const { api, out } = open(command);
      const { subscriptions } = await api().get("/v1/subscriptions");
      await out.table<Row<Subscription> & JsonObject>(
        objects(subscriptions),
        [
          { head: "SUBSCRIPTION", of: ({ id }) => cell(id), paint: out.style.bold },
          { head: "ENABLED", of: ({ enabled }) => (enabled === true ? "yes" : "no") },
          { head: "TOPICS", of: ({ topics }) => (Array.isArray(topics) && topics.length === TOPICS.length ? "all" : cell(topics)) },
          { head: "PIPELINES", of: ({ pipelines }) => (Array.isArray(pipelines) && pipelines.length === 0 ? "all" : cell(pipelines)) },
          { head: "ARRIVED", of: ({ deliveredAt }) => time(deliveredAt) },
          { head: "PROBLEM", of: ({ problem }) => cell(problem), paint: out.style.red },
          { head: "URL", of: ({ url }) => cell(url) },
        ],
        "no subscriptions",
      );
    });
  family
    .command("deliveries <subscription>")
    .description("what was sent, newest first, and what came back")
    .option("--limit <n>", "at most so many", toCount, 20)
    .addHelpText("after", "\nExample:\n  onedata subscriptions deliveries sub_1")
    .action(async (id: string, { limit }: { limit: number }, command: Command) => {
      const { api, out } = open(command);
      await out.table<Row<subscriptionV1.Delivery> & JsonObject>(
        await api().list(at(id, "/deliveries"), "deliveries", { limit }),
        [
          { head: "MADE", of: ({ createdAt }) => time(createdAt) },
          { head: "TOPIC", of: ({ topic }) => cell(topic) },
          { head: "STATE", of: ({ state }) => cell(state), paint: (state) => paintState(state.trim(), out.style) },
          { head: "TRIES", of: ({ tries }) => number(tries), align: "right" },
          { head: "NEXT", of: ({ nextTryAt }) => time(nextTryAt) },
          { head: "RESULT", of: ({ result }) => cell(result) },
          { head: "WHAT", of: ({ body }) => (isJsonObject(body) ? cell(body["text"]) : "") },
        ],
        "nothing was sent yet",
      );
    });
}

async function printSecret({ out }: Session, answer: Row<CreateSubscriptionResponse> & JsonObject): Promise<void> {
  if (out.isJson) return out.json(answer);
  const subscription: JsonObject = isJsonObject(answer.subscription) ? answer.subscription : {};
  await out.line(
    `subscription  ${out.style.bold(cell(subscription["id"]))}\nurl           ${cell(subscription["url"])}\nsecret        ${out.style.bold(cell(answer.secret))}  ${out.style.yellow("shown once")}`,
  );
}
