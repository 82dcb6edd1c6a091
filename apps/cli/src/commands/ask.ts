/** Asks a person on the terminal; a secret is not shown while it is typed. */
import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import type { Terminal } from "../terminal.ts";

export async function ask({ stdin, stderr, signal }: Terminal, question: string): Promise<string> {
  const reader = createInterface({ input: stdin, output: stderr });
  try {
    return (await reader.question(question, { signal })).trim();
  } finally {
    reader.close();
  }
}

export async function askSecret({ stdin, stderr, signal }: Terminal, question: string): Promise<string> {
  stderr.write(question);
  // Readline echoes to its output: this one swallows it.
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const reader = createInterface({ input: stdin, output: silent, terminal: stdin.isTTY === true });
  try {
    return (await reader.question("", { signal })).trim();
  } finally {
    reader.close();
    stderr.write("\n");
  }
}
