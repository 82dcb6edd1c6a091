/**
 * What the front door hands to the routes behind it. The hot routes (capture, imports, token) are matched by hand; everything else goes to the `Facade`.
 * A facade throws `OneDataError` (or anything else): the server turns it into problem+json, and logs what is unknown under an id.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Principal } from "../auth/principal.ts";
import type { Exchange } from "./exchange.ts";

/** Who calls. `principal` is undefined without a valid token; `demand` then says why. */
export type Caller = {
  readonly principal: Principal | undefined;
  /** Throws `auth.unauthenticated` or `auth.scope_missing` (401, 403 with Kong's fields). */
  demand(scopes: readonly string[]): Principal;
};

/** Resolves false when it has no such route: the server then answers 404. */
export type Facade = (request: IncomingMessage, response: ServerResponse, caller: Caller) => Promise<boolean>;

/** Routes that are matched by hand, because the generic way costs ten times as much. */
export type ImportHandler = (request: IncomingMessage, response: ServerResponse, pipeline: string) => Promise<void>;
export type CaptureHandler = (exchange: Exchange, pipeline: string) => void | Promise<void>;

export interface Log {
  info(message: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  error(message: string, fields?: Readonly<Record<string, unknown>>): void;
}
