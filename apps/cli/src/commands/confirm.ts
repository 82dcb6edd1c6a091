/** A question before something that cannot be taken back. */
import { exitCodes, Failure } from "../failure.ts";
import type { Session } from "../session.ts";
import { ask } from "./ask.ts";

/** True for yes. Where nobody can be asked, `--yes` has to be said. */
export async function confirm({ terminal }: Session, question: string, yes: boolean | undefined): Promise<boolean> {
  if (yes === true) return true;
  if (terminal.stdin.isTTY !== true) throw new Failure(`${question} Nobody can be asked here: say --yes`, exitCodes.usage);
  return /^y(es)?$/i.test(await ask(terminal, `${question} [y/N] `));
}
