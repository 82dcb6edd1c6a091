/** `send`: one event, from the command line or stdin. */
import type { Command } from "commander";
import { segment } from "../api/api.ts";
import { cell, compact, isText } from "../output/cells.ts";
import { paintState } from "../output/style.ts";
import type { OpenSession, Session } from "../session.ts";
import { readAll, toCount } from "./arguments.ts";

type SendOptions = { readonly key?: string; readonly wait?: number | true; readonly type: string };

const DEFAULT_WAIT_SECONDS = 10;

export function addSendCommands(program: Command, open: OpenSession): void {
  program
    .command("send <pipeline> [json]")
    .description("capture one event; reads stdin without JSON or with -")
    .option("--key <key>", "idempotency key: the same key and payload answer the first event's id")
    .option("--wait [seconds]", "wait for the verdict (10 seconds if not said)", toCount)
    .option("--type <mediaType>", "media type of the payload", "application/json")
    .addHelpText(
      "after",
      '\nExample:\n  onedata send orders \'{"id": 1, "price": 2, "quantity": 3}\' --wait\n  jq -c .order mail.json | onedata send orders --key "$MAIL_ID"',
    )
    .action(async (pipeline: string, json: string | undefined, options: SendOptions, command: Command) => {
      const session = open(command);
      const { out, terminal } = session;
      const data = json === undefined || json === "-" ? await readAll(terminal.stdin) : json;
      const waitSeconds = options.wait === true ? DEFAULT_WAIT_SECONDS : options.wait;
      const answer = await session.api().call("POST", `/v1/pipelines/${segment(pipeline)}/events`, {
        content: { data, mediaType: options.type },
        headers: {
          ...(options.key === undefined ? {} : { "idempotency-key": options.key }),
          ...(waitSeconds === undefined ? {} : { prefer: `wait=${waitSeconds}` }),
        },
      });
      if (out.isJson) return out.json(answer);
      const { style } = out;
      const duplicate = answer["duplicate"] === true ? style.dim(" (captured before under this key)") : "";
      const verdict =
        typeof answer["verdict"] === "string"
          ? `  ${paintState(answer["verdict"], style)}`
          : waitSeconds === undefined
            ? ""
            : style.yellow("  still waiting");
      await out.line(`${cell(answer["id"])}${verdict}${duplicate}`);
      const outputs = answer["outputs"];
      if (Array.isArray(outputs)) for (const output of outputs) await out.line(`  ${compact(output)}`);
      if (answer["verdict"] === undefined && waitSeconds !== undefined) await noteReason(session, cell(answer["id"]));
      if (answer["verdict"] === "dead") out.note(`why: onedata events ${cell(answer["id"])}`);
    });
}

/** What the event waits for. It is captured: who may not read events is not told, and nothing else fails for it. */
async function noteReason({ api, out }: Session, id: string): Promise<void> {
  try {
    const { waitingFor } = await api().get(`/v1/events/${segment(id)}`);
    if (isText(waitingFor)) out.note(`waits for: ${waitingFor}`);
  } catch {
    out.note(`why: onedata events ${id}`);
  }
}
