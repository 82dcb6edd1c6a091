/** `login`: keeps the address and credentials of a server, after they have worked once. */
import type { Command } from "commander";
import { writeCredentials } from "../api/credentials.ts";
import { fetchToken } from "../api/token.ts";
import { exitCodes, Failure } from "../failure.ts";
import type { OpenSession } from "../session.ts";
import { readAll } from "./arguments.ts";
import { ask, askSecret } from "./ask.ts";

type LoginOptions = { readonly url?: string; readonly clientId?: string; readonly secretStdin?: boolean };

export function addLoginCommand(program: Command, open: OpenSession): void {
  program
    .command("login")
    .description("keep a server's address and a client's credentials")
    .option("--url <url>", "address of the server, e.g. https://onedata.example.com")
    .option("--client-id <id>", "public id of the client")
    .option("--secret-stdin", "read the secret from stdin instead of asking for it")
    .addHelpText("after", "\nExample:\n  onedata login --url https://onedata.example.com --client-id client_4d16 --secret-stdin < secret.txt")
    .action(async (options: LoginOptions, command: Command) => {
      const { terminal, out, signal } = open(command);
      const canAsk = terminal.stdin.isTTY === true;
      const asked = async (given: string | undefined, question: string, option: string): Promise<string> => {
        const value = given ?? (canAsk ? await ask(terminal, question) : "");
        if (value === "") throw new Failure(`${option} is missing`, exitCodes.usage);
        return value;
      };
      const url = toUrl(await asked(options.url, "Server (https://…): ", "--url"));
      const clientId = await asked(options.clientId, "Client id: ", "--client-id");
      const clientSecret =
        options.secretStdin === true || !canAsk
          ? (await readAll(terminal.stdin)).toString("utf8").trim()
          : await askSecret(terminal, "Client secret: ");
      if (clientSecret === "") throw new Failure("the client's secret is empty", exitCodes.usage);
      const { scopes } = await fetchToken({ url, clientId, clientSecret }, signal);
      const path = writeCredentials(terminal, { url, clientId, clientSecret, scopes });
      if (out.isJson) return out.json({ url, clientId, scopes: [...scopes], path });
      await out.line(`${out.style.green("signed in")} at ${url} as ${clientId}; kept in ${path}`);
      await out.line(out.style.dim(`scopes: ${scopes.join(" ")}`));
    });
}

function toUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== "http:" && url?.protocol !== "https:")
    throw new Failure(`--url must be http://… or https://…, not ${JSON.stringify(text)}`, exitCodes.usage);
  return text.replace(/\/+$/, "");
}
