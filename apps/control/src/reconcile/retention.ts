/** What retention could not drop, as findings. Non-duty: finding it (`@onedata/store/retention`), the alarm in the log (`retention-loop.ts`). */
import { OneDataError } from "@onedata/core";
import type { Finding, Sql } from "@onedata/store";
import { type RetentionDays, type RetentionProblem, retentionProblems } from "@onedata/store/retention";

type Check = { readonly word: string; readonly state: "warning" | "failed"; readonly ok: string; readonly advice: string };

/** By the first word of a problem's key. */
const CHECKS: readonly Check[] = [
  { word: "days", state: "failed", ok: "old days of events have gone", advice: "end the transaction that is in the way; nothing is lost meanwhile" },
  {
    word: "work",
    state: "warning",
    ok: "no drop of old days is stuck",
    advice: "end the transaction that is in the way, or mend what the server says; control tries again by itself",
  },
  {
    word: "months",
    state: "warning",
    ok: "old months of dead letters have gone",
    advice: "wait for the job that replays them, or cancel it (onedata jobs); or end the transaction that is in the way",
  },
];

/** A look that fails says so and does not stop the others. */
export async function lookAtRetention(sql: Sql, options: { readonly max: RetentionDays; readonly now: Date }): Promise<readonly Finding[]> {
  const startedAt = performance.now();
  try {
    const problems = await retentionProblems(sql, options);
    const tookMs = performance.now() - startedAt;
    return CHECKS.map((check) => toFinding(check, problems, tookMs));
  } catch (error) {
    const detail = `the look itself failed: ${OneDataError.from(error).message}`;
    const tookMs = performance.now() - startedAt;
    return CHECKS.map(({ word }) => ({
      check: `retention.${word}`,
      state: "warning",
      count: 0,
      detail,
      advice: "look at the other findings first",
      examples: [],
      tookMs,
    }));
  }
}

function toFinding({ word, state, ok, advice }: Check, problems: readonly RetentionProblem[], tookMs: number): Finding {
  const check = `retention.${word}`;
  const found = problems.filter(({ key }) => key.split(" ")[0] === word);
  if (found.length === 0) return { check, state: "ok", count: 0, detail: ok, advice: "", examples: [], tookMs };
  const examples = found.map(({ key }) => key.slice(word.length + 1)).filter((example) => example !== "");
  return { check, state, count: found.length, detail: found.map(({ detail }) => detail).join("; "), advice, examples, tookMs };
}
