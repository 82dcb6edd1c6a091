/** SystemService: what an operator should know about the installation, looked at now. */
import type { SystemServiceDefinition } from "@onedata/contracts";
import type { Implementation } from "@onedata/mesh";
import type { Watch } from "../reconcile/watch.ts";

export function createSystemService({ watch }: { readonly watch: Watch }): Implementation<typeof SystemServiceDefinition> {
  return {
    async diagnose({ deep }, { signal }) {
      const findings = await watch.diagnose({ deep, signal });
      return {
        findings: findings.map(({ check, state, detail, advice, count, examples }) => ({
          check,
          state,
          detail,
          advice,
          count,
          examples: [...examples],
        })),
        at: new Date(),
      };
    },
  };
}
