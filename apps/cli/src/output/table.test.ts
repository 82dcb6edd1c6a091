import { describe, expect, it } from "vitest";
import { type Column, formatTable } from "./table.ts";

const columns: readonly Column<{ name: string; count: string; note: string }>[] = [
  { head: "NAME", of: ({ name }) => name },
  { head: "COUNT", of: ({ count }) => count, align: "right" },
  { head: "NOTE", of: ({ note }) => note },
];
const head = (text: string): string => text;

describe("a table", () => {
  it("aligns columns and cuts nothing in a pipe", () => {
    const rows = [
      { name: "a", count: "1", note: "x".repeat(100) },
      { name: "longer", count: "1,000", note: "" },
    ];
    expect(formatTable(rows, columns, { head })).toBe(`NAME    COUNT  NOTE\na           1  ${"x".repeat(100)}\nlonger  1,000`);
  });

  it("cuts the last column to the terminal's width", () => {
    const text = formatTable([{ name: "a", count: "1", note: "x".repeat(100) }], columns, { head, width: 40 });
    expect(text.split("\n")[1]).toHaveLength(40);
    expect(text).toContain("…");
  });

  it("leaves out columns with nothing in them, and control sequences of what others wrote", () => {
    expect(formatTable([{ name: "\u001b[31mred", count: "", note: "n" }], columns, { head })).toBe("NAME  NOTE\nred   n");
  });
});
