/**
 * Solo's folder: what survives a restart. Secrets have mode 0600.
 *   postgres/    the database's data        client.json   URL and credentials of the first client, for programs and the CLI
 *   secret.key   encrypts connections' secrets at rest
 */
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export type ClientFile = { readonly url: string; readonly clientId: string; readonly clientSecret: string };

export class Home {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
    mkdirSync(folder, { recursive: true });
  }

  /** 32 bytes as base64, made once. */
  secretKey(): string {
    return this.#readOrMake("secret.key", () => randomBytes(32).toString("base64"));
  }

  readClient(): ClientFile | undefined {
    const text = this.#read("client.json");
    if (text === undefined) return undefined;
    const value: unknown = JSON.parse(text);
    return isClientFile(value) ? value : undefined;
  }

  writeClient(client: ClientFile): void {
    this.#write("client.json", `${JSON.stringify(client, null, 2)}\n`);
  }

  #readOrMake(name: string, make: () => string): string {
    const known = this.#read(name)?.trim();
    if (known !== undefined && known !== "") return known;
    const made = make();
    this.#write(name, `${made}\n`);
    return made;
  }

  #read(name: string): string | undefined {
    try {
      return readFileSync(join(this.folder, name), "utf8");
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
      throw error;
    }
  }

  /** By rename, so that a crash leaves the old file or the new one. */
  #write(name: string, text: string): void {
    const temporary = join(this.folder, `.${name}.${process.pid}`);
    writeFileSync(temporary, text, { mode: 0o600 });
    renameSync(temporary, join(this.folder, name));
  }
}

const isClientFile = (value: unknown): value is ClientFile =>
  typeof value === "object" &&
  value !== null &&
  "url" in value &&
  "clientId" in value &&
  "clientSecret" in value &&
  typeof value.clientId === "string" &&
  typeof value.clientSecret === "string";
