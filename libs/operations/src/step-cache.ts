/**
 * Compiled steps by operation, config and tenant: the config travels in every call, its compilation does not.
 * The key is the config's text itself, not a hash that somebody else computed, so a wrong hash can never run another tenant's config.
 * Bounded; the least recently used step goes first. A config that does not compile is not kept.
 */
import { keepNewest, OneDataError } from "@onedata/core";
import { parseJson } from "@onedata/formats";
import type { OperationDeps, Step } from "./operation.ts";
import { findOperation } from "./registry.ts";

export class StepCache {
  readonly #deps: (tenant: string) => OperationDeps;
  readonly #maxSteps: number;
  readonly #steps = new Map<string, Step>();

  constructor(deps: (tenant: string) => OperationDeps, maxSteps = 2_000) {
    this.#deps = deps;
    this.#maxSteps = maxSteps;
  }

  /** Throws `operation.not_found` and `config.invalid`. */
  get(operationName: string, configJson: string, tenant: string): Step {
    const key = `${tenant}\n${operationName}\n${configJson}`;
    const known = this.#steps.get(key);
    if (known !== undefined) {
      keepNewest(this.#steps, key, known, this.#maxSteps);
      return known;
    }
    const operation = findOperation(operationName);
    if (operation === undefined) throw new OneDataError("operation.not_found", `no operation "${operationName}" here: see GET /v1/operations`);
    const step = operation.compile(parseConfig(operationName, configJson), this.#deps(tenant));
    keepNewest(this.#steps, key, step, this.#maxSteps);
    return step;
  }

  get size(): number {
    return this.#steps.size;
  }
}

function parseConfig(operation: string, json: string): ReturnType<typeof parseJson> {
  try {
    return parseJson(json === "" ? "{}" : json);
  } catch (cause) {
    throw new OneDataError("config.invalid", `${operation}: the config is not JSON`, { cause });
  }
}
