/** Which home a command works on, and how it tells sizes and times. */
import { resolve } from "node:path";
import type { Terminal } from "../terminal.ts";

export const homeOf = ({ env }: Terminal, given: string | undefined): string => resolve(given ?? env["ONEDATA_HOME"] ?? ".onedata");

export const toMegabytes = (bytes: number): string => `${(bytes / 1_048_576).toFixed(1)} MiB`;

export const toSeconds = (seconds: number): string => `${seconds.toFixed(1)} s`;
