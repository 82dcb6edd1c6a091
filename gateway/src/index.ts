export { type Authenticator, KONG_SECRET_HEADER } from "./auth/authenticator.ts";
export { type ClientCredentials, createClient } from "./auth/first-client.ts";
export type { Principal } from "./auth/principal.ts";
export type { Capture, Captured, CaptureInput, CaptureResult } from "./capture/capture.ts";
export { createFacade, type FacadeOptions } from "./facade.ts";
export type { Caller, Facade, Log } from "./http/seam.ts";
export type { HttpAddress } from "./http/server.ts";
export { gatewaySchema, runGateway } from "./run-gateway.ts";
export { createGateway, type Gateway, type GatewayAuth, type GatewayPorts } from "./server.ts";
