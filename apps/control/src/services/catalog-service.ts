/** CatalogService: what pipelines can be made of. The same for every tenant. */
import type { CatalogServiceDefinition } from "@onedata/contracts";
import { didYouMean, OneDataError } from "@onedata/core";
import type { Implementation } from "@onedata/mesh";
import type { CatalogueReader } from "../catalogue/catalogue.ts";

export function createCatalogService({ catalogue }: { readonly catalogue: CatalogueReader }): Implementation<typeof CatalogServiceDefinition> {
  return {
    listOperations: async () => ({ operations: [...(await catalogue.list())] }),
    async getOperation({ operation }) {
      const entries = await catalogue.list();
      const entry = entries.find((candidate) => candidate.operation.name === operation);
      if (entry === undefined)
        throw new OneDataError(
          "operation.not_found",
          `no operation ${JSON.stringify(operation)}${didYouMean(
            operation,
            entries.map((e) => e.operation.name),
          )}`,
        );
      return entry;
    },
  };
}
