/** `tenant`: the caller's tenant and how long it keeps data; operators make, limit and erase tenants. */
import type { EraseTenantResponse, Limits, Retention, Tenant } from "@onedata/contracts";
import { isJsonObject, type Json, type JsonObject } from "@onedata/core";
import { type Command, InvalidArgumentError } from "commander";
import { segment } from "../api/api.ts";
import { exitCodes, Failure } from "../failure.ts";
import { cell, compact, isText, number, type Row } from "../output/cells.ts";
import type { Printer } from "../output/printer.ts";
import type { OpenSession } from "../session.ts";
import { toCount } from "./arguments.ts";
import { ask } from "./ask.ts";

type LimitOptions = { readonly eventsPerSecond?: number; readonly backlogMib?: number; readonly pipelines?: number };
type RetentionOptions = { readonly events?: number; readonly deadLetters?: number };

export function addTenantCommands(program: Command, open: OpenSession): void {
  const family = program.command("tenant").description("your tenant: its limits, variables, and how long it keeps data");
  family
    .command("show", { isDefault: true })
    .description("the tenant that you act for")
    .addHelpText("after", "\nExample:\n  onedata tenant show")
    .action(async (_options: object, command: Command) => {
      const { api, out } = open(command);
      const tenant: Row<Tenant> & JsonObject = await api().get("/v1/tenant");
      if (out.isJson) return out.json(tenant);
      await out.line(`${out.style.dim("tenant".padEnd(13))} ${out.style.bold(cell(tenant.name))}`);
      if (isJsonObject(tenant.limits ?? null)) await out.line(`${out.style.dim("limits".padEnd(13))} ${compact(tenant.limits)}`);
      await printRetention(out, tenant);
    });
  family
    .command("retention")
    .description("how long data is kept, in days; without options it is only shown")
    .option("--events <days>", "events, runs and outputs, after they are done; 0 is the operator's maximum", toDays)
    .option("--dead-letters <days>", "dead letters; 0 is the operator's maximum", toDays)
    .addHelpText("after", "\nExample:\n  onedata tenant retention --events 3 --dead-letters 14")
    .action(async ({ events, deadLetters }: RetentionOptions, command: Command) => {
      const { api, out } = open(command);
      const calls = api();
      let tenant: Row<Tenant> & JsonObject = await calls.get("/v1/tenant");
      if (events !== undefined || deadLetters !== undefined) {
        const now: Row<Retention> = tenant.retention !== undefined && isJsonObject(tenant.retention) ? tenant.retention : {};
        const body = { eventsDays: events ?? now.eventsDays ?? 0, deadLettersDays: deadLetters ?? now.deadLettersDays ?? 0 };
        tenant = await calls.call("PUT", "/v1/tenant/retention", { body });
      }
      if (out.isJson) return out.json(tenant.retention ?? {});
      await printRetention(out, tenant);
    });
  withLimits(family.command("create <tenant>").description("operators: make a tenant; then give it a client"))
    .addHelpText(
      "after",
      "\nExample:\n  onedata tenant create acme --events-per-second 500\n  onedata clients create first --tenant acme --scope pipelines:write events:write",
    )
    .action(async (name: string, options: LimitOptions, command: Command) => {
      const { api, out } = open(command);
      const tenant: Row<Tenant> & JsonObject = await api().call("POST", "/v1/tenants", { body: { name, limits: toLimits(options) } });
      if (out.isJson) return out.json(tenant);
      await printLimits(out, tenant);
      out.note(`its first client: onedata clients create first --tenant ${name} --scope pipelines:write pipelines:read events:write events:read`);
    });
  withLimits(family.command("limits <tenant>").description("operators: set a tenant's quotas, all of them: what is not given has no limit"))
    .option("--none", "no limits at all")
    .addHelpText("after", "\nExample:\n  onedata tenant limits acme --events-per-second 500 --backlog-mib 2048")
    .action(async (name: string, { none, ...options }: LimitOptions & { none?: true }, command: Command) => {
      if ((none === undefined) === (Object.keys(options).length === 0))
        throw new Failure("say the limits, or --none: what is not given has no limit", exitCodes.usage);
      const { api, out } = open(command);
      const tenant: Row<Tenant> & JsonObject = await api().call("PUT", `/v1/tenants/${segment(name)}/limits`, { body: toLimits(options) });
      if (out.isJson) return out.json(tenant);
      await printLimits(out, tenant);
    });
  family
    .command("erase <tenant>")
    .description("operators: erase a tenant with everything it captured; asks for its name once more")
    .option("--confirm <tenant>", "its name once more, for scripts")
    .addHelpText("after", "\nExample:\n  onedata tenant erase acme")
    .action(async (tenant: string, options: { confirm?: string }, command: Command) => {
      const { api, out, terminal } = open(command);
      const confirm =
        options.confirm ??
        (await ask(terminal, `This erases ${tenant} with all its events, results, connections and clients, for ever.\nIts name once more: `));
      const answer: Row<EraseTenantResponse> & JsonObject = await api().call("DELETE", `/v1/tenants/${segment(tenant)}`, { query: { confirm } });
      if (out.isJson) return out.json(answer);
      const { state, erasedRows, waitingFor } = answer;
      await out.line(
        `${out.style.bold(tenant)} ${state === "erased" ? "is erased" : "is being erased"}: ${number(erasedRows ?? 0)} rows so far${isText(waitingFor) ? `; it waits for ${waitingFor}` : ""}`,
      );
      if (state !== "erased") out.note("the same command again says how far it is");
    });
}

const withLimits = (command: Command): Command =>
  command
    .option("--events-per-second <n>", "captures per second; more get 429, imports wait", toCount)
    .option("--backlog-mib <n>", "MiB that may wait for engines", toCount)
    .option("--pipelines <n>", "how many pipelines", toCount);

const toLimits = ({ eventsPerSecond = 0, backlogMib = 0, pipelines = 0 }: LimitOptions): JsonObject => ({
  eventsPerSecond,
  backlogBytes: backlogMib * 1024 * 1024,
  pipelines,
});

async function printLimits(out: Printer, { name, limits }: Row<Tenant>): Promise<void> {
  const set: Row<Limits> = limits !== undefined && isJsonObject(limits) ? limits : {};
  const line = (value: Json | undefined, unit: string): string[] => (value === undefined || value === 0 ? [] : [`${number(value)} ${unit}`]);
  const shown = [...line(set.eventsPerSecond, "events/s"), ...line(set.backlogBytes, "bytes waiting"), ...line(set.pipelines, "pipelines")];
  await out.line(`${out.style.bold(cell(name))} ${shown.length === 0 ? "has no limits" : `may have at most ${shown.join(", ")}`}`);
}

function toDays(text: string): number {
  const days = Number(text);
  if (!/^\d{1,4}$/.test(text)) throw new InvalidArgumentError("a whole number of days, e.g. 7; 0 is the operator's maximum");
  return days;
}

async function printRetention(out: Printer, { retention }: Row<Tenant>): Promise<void> {
  const kept: Row<Retention> = retention !== undefined && isJsonObject(retention) ? retention : {};
  const { style } = out;
  const line = (name: string, chosen: typeof kept.eventsDays, max: typeof kept.eventsDays): Promise<void> =>
    out.line(
      `${style.dim(name.padEnd(13))} kept ${number(chosen === undefined || chosen === 0 ? max : chosen)} days ${style.dim(`(at most ${number(max)})`)}`,
    );
  await line("events", kept.eventsDays, kept.maxEventsDays);
  await line("dead letters", kept.deadLettersDays, kept.maxDeadLettersDays);
}
