/** The program: its commands, its global options, and how it ends. */
import { Command, CommanderError } from "commander";
import { addApplyCommands } from "./commands/apply.ts";
import { addBackfillCommand } from "./commands/backfill.ts";
import { addBackupCommands } from "./commands/backup.ts";
import { addCatalogueCommands } from "./commands/catalogue.ts";
import { addClientCommands } from "./commands/clients.ts";
import { addConnectionCommands } from "./commands/connections.ts";
import { addDeadLetterCommands } from "./commands/dead-letters.ts";
import { addDoctorCommand } from "./commands/doctor.ts";
import { addEventCommands } from "./commands/events.ts";
import { addImportCommands } from "./commands/imports.ts";
import { addInitCommand } from "./commands/init.ts";
import { addJobCommands } from "./commands/jobs.ts";
import { addLoginCommand } from "./commands/login.ts";
import { addLookupCommands } from "./commands/lookups.ts";
import { addPipelineCommands } from "./commands/pipelines.ts";
import { addReplayCommand } from "./commands/replay-event.ts";
import { addRestoreCommand } from "./commands/restore.ts";
import { addRunCommand } from "./commands/run.ts";
import { addSendCommands } from "./commands/send.ts";
import { addSubscriptionCommands } from "./commands/subscriptions.ts";
import { addTenantCommands } from "./commands/tenant.ts";
import { addTestCommand } from "./commands/test.ts";
import { addUsageCommand } from "./commands/usage.ts";
import { Exit, type ExitCode, exitCodes, explain } from "./failure.ts";
import { createReport } from "./output/report.ts";
import { createOpenSession } from "./session.ts";
import type { Terminal } from "./terminal.ts";

const GROUPS = [
  ["Develop, no server needed:", [addInitCommand, addTestCommand, addRunCommand]],
  ["Pipelines:", [addApplyCommands, addPipelineCommands]],
  ["Data in:", [addSendCommands, addImportCommands]],
  ["What became of it:", [addEventCommands, addDeadLetterCommands]],
  ["Again:", [addReplayCommand, addBackfillCommand, addJobCommands]],
  [
    "Around it:",
    [
      addCatalogueCommands,
      addConnectionCommands,
      addLookupCommands,
      addClientCommands,
      addSubscriptionCommands,
      addTenantCommands,
      addUsageCommand,
      addLoginCommand,
    ],
  ],
  ["The installation:", [addDoctorCommand, addBackupCommands, addRestoreCommand]],
] as const;

/** Never rejects. `argv` is without the program's own name. */
export async function runCli(argv: readonly string[], terminal: Terminal): Promise<ExitCode> {
  const program = createProgram(terminal);
  try {
    await program.parseAsync([...argv], { from: "user" });
    return exitCodes.ok;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    if (error instanceof Exit) return error.code;
    if (terminal.signal.aborted) return exitCodes.interrupted;
    createReport(terminal, { isJson: argv.includes("--json"), color: !argv.includes("--no-color") })(error);
    return explain(error).exitCode;
  }
}

function createProgram(terminal: Terminal): Command {
  const program = new Command("onedata")
    .description("OneData on the command line: pipelines, data in, and what became of it.")
    .option("--json", "for programs: JSON on stdout, one value per line")
    .option("--no-color", "no colours (also: NO_COLOR=1)")
    .configureHelp({ showGlobalOptions: true })
    .showSuggestionAfterError()
    .showHelpAfterError("(--help shows what there is)")
    .addHelpText(
      "after",
      '\nThe server is the one of ./.onedata/client.json (ONEDATA_HOME names another folder), else the one of `onedata login`.\nExit codes: 0 done, 1 a problem, 2 wrong usage, 3 the server cannot be reached.\n\nExample:\n  onedata apply examples/orders.yaml && onedata send orders \'{"id": 1, "price": 2, "quantity": 3}\' --wait',
    )
    .configureOutput({ writeOut: (text) => void terminal.stdout.write(text), writeErr: (text) => void terminal.stderr.write(text) })
    .helpCommand(false)
    .exitOverride();
  const open = createOpenSession(terminal);
  for (const [heading, families] of GROUPS) {
    program.commandsGroup(heading);
    for (const add of families) add(program, open);
  }
  inherit(program);
  return program;
}

/** Commander copies output and exit handling to subcommands only while they are added. */
function inherit(command: Command): void {
  for (const sub of command.commands) {
    sub.helpCommand(false);
    sub.copyInheritedSettings(command);
    inherit(sub);
  }
}
