import { mkdir, mkdtemp, readdir, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createExporter, type OutputChunk } from "./exporter.ts";
import { type FileSinkConfig, readFileConfig } from "./file-config.ts";
import { type CsvOptions, createEncoder } from "./format.ts";
import { type Files, nodeFiles } from "./segment-folder.ts";

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "onedata-export-"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const signal = new AbortController().signal;
const ndjson: FileSinkConfig = { path: "exports/orders", format: { kind: "ndjson" }, maxBytes: 60, maxAgeMs: 1000 };
const chunks = (count: number): readonly OutputChunk[] =>
  Array.from({ length: count }, (_, i) => ({
    position: String(i).padStart(6, "0"),
    jsons: Array.from({ length: (i % 3) + 1 }, (_, k) => `{"i":${i},"k":${k}}`),
  }));
const readerOf =
  (all: readonly OutputChunk[], page = 2) =>
  (after: string | undefined): Promise<readonly OutputChunk[]> =>
    Promise.resolve(all.filter(({ position }) => after === undefined || position > after).slice(0, page));
const finished = async (folder: string): Promise<string[]> => (await readdir(folder)).filter((name) => !name.startsWith(".")).sort();

describe("segments", () => {
  it("hold every output once, are named by their range, and follow each other", async () => {
    const exporter = await createExporter({ config: ndjson, root, name: "orders.files", read: readerOf(chunks(10)), clock: { now: () => 0 } });
    while ((await exporter.step(signal)) === "busy");
    await exporter.close();
    const folder = join(root, "exports/orders");
    const names = await finished(folder);
    expect(names.length).toBeGreaterThan(2);
    expect(names[0]).toBe("orders.files.000000_000002.ndjson");
    const lines = (await Promise.all(names.map((name) => readFile(join(folder, name), "utf8")))).join("");
    expect(lines).toBe(
      chunks(10)
        .flatMap((chunk) => chunk.jsons.map((json) => `${json}\n`))
        .join(""),
    );
  });

  it("close by age, also when nothing comes any more", async () => {
    let now = 0;
    const exporter = await createExporter({
      config: { ...ndjson, maxBytes: 1e9 },
      root,
      name: "orders.files",
      read: readerOf(chunks(1)),
      clock: { now: () => now },
    });
    await exporter.step(signal);
    expect(await finished(join(root, "exports/orders"))).toEqual([]);
    now = 1000;
    expect(await exporter.step(signal)).toBe("idle");
    expect(await finished(join(root, "exports/orders"))).toEqual(["orders.files.000000_000000.ndjson"]);
  });

  it("are exact wherever the process dies, and whoever takes finished files away", async () => {
    const all = chunks(12);
    const expected = all.flatMap((chunk) => chunk.jsons.map((json) => `${json}\n`)).join("");
    let run = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 25 }), { maxLength: 6 }), fc.boolean(), async (crashes, consumed) => {
        const own = join(root, String(run++));
        const folder = join(own, "exports/orders");
        const taken: string[] = [];
        const take = async (): Promise<void> => {
          for (const name of await finished(folder)) {
            taken.push(await readFile(join(folder, name), "utf8"));
            await rm(join(folder, name));
          }
        };
        for (const after of [...crashes, Number.POSITIVE_INFINITY]) {
          try {
            const exporter = await createExporter({
              config: ndjson,
              root: own,
              name: "orders.files",
              read: readerOf(all),
              clock: { now: () => 0 },
              files: dyingAfter(after),
            });
            while ((await exporter.step(signal)) === "busy");
            await exporter.close();
          } catch (error) {
            if (!(error instanceof Died)) throw error;
          }
          if (consumed) await take();
        }
        await take();
        expect(taken.join("")).toBe(expected);
      }),
      { numRuns: 60 },
    );
  });

  it("of two sinks share a folder", async () => {
    for (const name of ["a.files", "b.files"]) {
      const exporter = await createExporter({ config: ndjson, root, name, read: readerOf(chunks(1)), clock: { now: () => 0 } });
      await exporter.step(signal);
      await exporter.close();
    }
    expect(await finished(join(root, "exports/orders"))).toEqual(["a.files.000000_000000.ndjson", "b.files.000000_000000.ndjson"]);
  });
});

describe("the path", () => {
  it.each(["../x", "a/../../x", "/etc", "a//b", ".hidden", "a/.b", "a\\b", "", "a b", "a\u0000b", "./a"])("%j is refused", (path) => {
    expect(() => readFileConfig("file.ndjson", { path })).toThrow(/path/);
  });

  it("may not lead out through a link", async () => {
    await mkdir(join(root, "tenant"));
    await mkdir(join(root, "other"));
    await symlink(join(root, "other"), join(root, "tenant/exports"));
    await expect(
      createExporter({ config: ndjson, root: join(root, "tenant"), name: "n", read: readerOf([]), clock: { now: () => 0 } }),
    ).rejects.toThrow(/leads out/);
    expect(await readdir(join(root, "other"))).toEqual([]);
  });
});

describe("CSV", () => {
  const csv = (options: Partial<CsvOptions>, ...jsons: string[]): string =>
    jsons.map(createEncoder({ kind: "csv", delimiter: ",", header: true, escapeFormulas: false, ...options })).join("");

  it("takes the first record's members as columns, quotes what must be, and keeps numbers", () => {
    expect(
      csv(
        {},
        '{"id":12345678901234567890,"text":"a \\"b\\", c\\nd","list":[1,2],"none":null,"empty":"","yes":true}',
        '{"text":"x","id":1.5,"more":1}',
        "7",
      ),
    ).toBe('id,text,list,none,empty,yes\r\n12345678901234567890,"a ""b"", c\nd","[1,2]",,"",true\r\n1.5,x,,,,\r\n,,,,,\r\n');
  });

  it("keeps to configured columns, delimiter and no header", () => {
    expect(csv({ columns: ["b", "a"], delimiter: ";", header: false }, '{"a":"x;y","b":1}')).toBe('1;"x;y"\r\n');
  });

  it("disarms formulas on request, and numbers never", () => {
    expect(csv({ escapeFormulas: true, header: false }, '{"a":"=1+1","b":"@x","c":-5,"d":"-5","e":"safe"}')).toBe("'=1+1,'@x,-5,'-5,safe\r\n");
    expect(csv({ header: false }, '{"a":"=1+1"}')).toBe("=1+1\r\n");
  });
});

it("NDJSON keeps the text, on one line", () => {
  expect(createEncoder({ kind: "ndjson" })('{"a":\n 1.10}')).toBe('{"a":1.1}\n');
  expect(createEncoder({ kind: "ndjson" })('{"a":1.10,"b":"\\n"}')).toBe('{"a":1.10,"b":"\\n"}\n');
});

class Died extends Error {}

/** Every operation may be the last: it is done or not done, and nothing after it is. */
function dyingAfter(operations: number): Files {
  let left = operations;
  const step = async <T>(work: () => Promise<T>): Promise<T> => {
    if (left <= 0) throw new Died();
    left -= 1;
    const result = await work();
    // Half of the deaths come right after the operation.
    if (left === 0 && operations % 2 === 0) throw new Died();
    return result;
  };
  return {
    append: (handle, text) => step(() => nodeFiles.append(handle, text)),
    sync: (handle) => step(() => nodeFiles.sync(handle)),
    rename: (from, to) => step(() => nodeFiles.rename(from, to)),
    syncFolder: (folder) => step(() => nodeFiles.syncFolder(folder)),
  };
}
