/** From an operation's description to what `Describe` answers. */
import type { transformV1 } from "@onedata/contracts";
import type { OperationDescription } from "@onedata/core";

export function toOperation(
  description: OperationDescription,
  { engineHandled = false }: { readonly engineHandled?: boolean } = {},
): transformV1.Operation {
  return {
    name: description.name,
    title: description.title,
    doc: description.doc,
    configSchema: JSON.stringify(description.configSchema),
    shape: description.shape,
    effects: description.effects,
    needsConnection: description.needsConnection ?? false,
    engineHandled,
    examples: description.examples.map((example) => ({
      name: example.name,
      config: JSON.stringify(example.config),
      input: JSON.stringify(example.input),
      outputs: example.outputs === undefined ? "" : JSON.stringify(example.outputs),
      filtered: example.filtered ?? false,
      fails: example.fails ?? "",
    })),
  };
}
