/** `clients`: OAuth2 clients of the tenant. */
import type { CreateClientResponse, OAuthClient } from "@onedata/contracts";
import type { JsonObject } from "@onedata/core";
import type { Command } from "commander";
import { segment } from "../api/api.ts";
import { cell, objects, type Row, time } from "../output/cells.ts";
import type { OpenSession } from "../session.ts";

export function addClientCommands(program: Command, open: OpenSession): void {
  const family = program.command("clients").description("OAuth2 clients: who may call");
  family
    .command("list", { isDefault: true })
    .description("every client of the tenant")
    .addHelpText("after", "\nExample:\n  onedata clients list")
    .action(async (_options: object, command: Command) => {
      const { api, out } = open(command);
      const { clients } = await api().get("/v1/clients");
      await out.table<Row<OAuthClient> & JsonObject>(
        objects(clients),
        [
          { head: "CLIENT", of: ({ clientId }) => cell(clientId), paint: out.style.bold },
          { head: "NAME", of: ({ name }) => cell(name) },
          { head: "CREATED", of: ({ createdAt }) => time(createdAt) },
          { head: "SCOPES", of: ({ scopes }) => cell(scopes) },
        ],
        "no clients",
      );
    });
  family
    .command("create <name>")
    .description("create a client; its secret is shown once")
    .requiredOption("--scope <scope...>", "what it may do, at most what you may")
    .option("--tenant <name>", "operators: for this tenant instead of your own")
    .addHelpText("after", "\nExample:\n  onedata clients create shop --scope events:write events:read")
    .action(async (name: string, { scope, tenant }: { scope: string[]; tenant?: string }, command: Command) => {
      const { api, out } = open(command);
      const client: Row<CreateClientResponse> & JsonObject = await api().call("POST", "/v1/clients", {
        body: { name, scopes: scope, ...(tenant === undefined ? {} : { tenant }) },
      });
      if (out.isJson) return out.json(client);
      await out.line(
        `client  ${out.style.bold(cell(client.clientId))}\nsecret  ${out.style.bold(cell(client.clientSecret))}  ${out.style.yellow("shown once")}\nscopes  ${cell(client.scopes)}`,
      );
    });
  family
    .command("revoke <client-id>")
    .description("revoke a client and its tokens")
    .addHelpText("after", "\nExample:\n  onedata clients revoke client_4d1624a9351be92bcd32")
    .action(async (clientId: string, _options: object, command: Command) => {
      const { api, out } = open(command);
      await api().call("DELETE", `/v1/clients/${segment(clientId)}`);
      out.note(`${clientId} is revoked`);
    });
}
