/**
 * Tables: rows of numbers and words, through arquero, as aligned text for a terminal, Markdown for
 * a README, or CSV for a spreadsheet. Numbers are told to four significant digits except in CSV,
 * which keeps every digit. Takes rows, knows no models. Columns stand in the order of the first
 * row's keys.
 *
 * @module
 */
import { loadNpm } from "./npm.ts";

/** One line of a table, by column title. */
export type Row = Readonly<Record<string, string | number | boolean>>;

/** The little of arquero's table that is used here. */
interface Table {
  columnNames(): string[];
  objects(): Record<string, unknown>[];
  numRows(): number;
  toCSV(): string;
  toMarkdown(options?: { limit?: number }): string;
}

/** The little of arquero that is used here. */
interface Arquero {
  from(rows: readonly Row[]): Table;
}

/** Rows as `text` (aligned columns under a rule), `markdown` or `csv`, with a newline at the end. */
export async function renderTable(
  rows: readonly Row[],
  as: "text" | "markdown" | "csv" = "text",
): Promise<string> {
  if (rows.length === 0) return "";
  const { from } = await loadNpm<Arquero>("arquero");
  if (as === "csv") return `${from(rows).toCSV().trimEnd()}\n`;
  const table = from(rows.map(toldRow));
  if (as === "markdown") return `${table.toMarkdown({ limit: Infinity }).trimEnd()}\n`;
  return alignedText(table, numericColumns(rows));
}

/** A number for people: whole numbers whole, others to four significant digits. */
export function told(value: number): string {
  if (Number.isInteger(value) || !Number.isFinite(value)) return String(value);
  const digits = value.toPrecision(4);
  return digits.includes(".") ? digits.replace(/\.?0*($|e)/, "$1") : digits;
}

function toldRow(row: Row): Row {
  const entries = Object.entries(row);
  return Object.fromEntries(entries.map(([k, v]) => [k, typeof v === "number" ? told(v) : v]));
}

/** Titles of columns that hold numbers only: they lean to the right. */
function numericColumns(rows: readonly Row[]): Set<string> {
  const titles = Object.keys(rows[0]);
  return new Set(titles.filter((title) => rows.every((row) => typeof row[title] === "number")));
}

function alignedText(table: Table, numeric: ReadonlySet<string>): string {
  const titles = table.columnNames();
  const cells = table.objects().map((row) => titles.map((title) => String(row[title] ?? "")));
  const widths = titles.map((title, i) =>
    cells.reduce((width, line) => Math.max(width, line[i].length), title.length)
  );
  const line = (words: string[]) =>
    words.map((word, i) =>
      numeric.has(titles[i]) ? word.padStart(widths[i]) : word.padEnd(widths[i])
    )
      .join("  ").trimEnd();
  const rule = widths.map((width) => "-".repeat(width)).join("  ");
  return `${[line(titles), rule, ...cells.map(line)].join("\n")}\n`;
}
