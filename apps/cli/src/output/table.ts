/** Aligned columns. On a terminal the last column is cut to what fits; in a pipe nothing is cut. Columns with nothing in them are left out. */
import { stripVTControlCharacters } from "node:util";

export type Column<T> = {
  readonly head: string;
  readonly of: (row: T) => string;
  readonly align?: "right";
  readonly paint?: (text: string) => string;
};

const GAP = "  ";

export function formatTable<T>(
  rows: readonly T[],
  all: readonly Column<T>[],
  options: { readonly width?: number | undefined; readonly head: (text: string) => string },
): string {
  const columns = all.filter((column) => rows.some((row) => column.of(row) !== ""));
  const cells = rows.map((row) => columns.map((column) => stripVTControlCharacters(column.of(row))));
  const widths = columns.map((column, i) => Math.max(column.head.length, ...cells.map((line) => line[i]?.length ?? 0)));
  const lastWidth =
    options.width === undefined
      ? Number.POSITIVE_INFINITY
      : Math.max(12, options.width - widths.slice(0, -1).reduce((sum, w) => sum + w + GAP.length, 0));
  const line = (texts: readonly string[], paint: (text: string, i: number) => string): string =>
    texts
      .map((text, i) => {
        const isLast = i === columns.length - 1;
        const shown = isLast && text.length > lastWidth ? `${text.slice(0, lastWidth - 1)}…` : text;
        const room = " ".repeat(Math.max(0, (isLast && columns[i]?.align !== "right" ? 0 : (widths[i] ?? 0)) - shown.length));
        return columns[i]?.align === "right" ? room + paint(shown, i) : paint(shown, i) + room;
      })
      .join(GAP)
      .trimEnd();
  return [
    line(
      columns.map(({ head }) => head),
      options.head,
    ),
    ...cells.map((texts) => line(texts, (text, i) => columns[i]?.paint?.(text) ?? text)),
  ].join("\n");
}
