/**
 * Comma-separated values by RFC 4180: cells in quotes may hold commas, newlines and doubled quotes;
 * rows end in "\n" or "\r\n". A quote inside a cell that does not begin with one is an ordinary
 * character, as in spreadsheets' own files. Blank lines are no rows. Everything is a string.
 *
 * @module
 */

/**
 * Reads a text to rows of cells.
 *
 * @throws {SyntaxError} on a quote that is not closed, or that something follows, naming the line.
 *
 * @example
 * ```ts
 * import { parseCsv } from "./csv.ts";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(parseCsv('a,"b, ""c"""\n'), [["a", 'b, "c"']]);
 * ```
 */
export function parseCsv(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let at = text.startsWith("\ufeff") ? 1 : 0;
  while (at < text.length) {
    const { cell, end } = text[at] === '"' ? quotedCell(text, at) : plainCell(text, at);
    row.push(cell);
    at = end;
    if (text[at] === ",") {
      at++;
      if (at < text.length) continue;
      row.push("");
    }
    at += text.startsWith("\r\n", at) ? 2 : 1;
    if (row.length > 1 || row[0] !== "") rows.push(row);
    row = [];
  }
  return rows;
}

interface Cell {
  readonly cell: string;
  readonly end: number;
}

function plainCell(text: string, begin: number): Cell {
  let end = begin;
  while (end < text.length && text[end] !== "," && text[end] !== "\n") end++;
  const cut = text[end] === "\n" && end > begin && text[end - 1] === "\r" ? end - 1 : end;
  return { cell: text.slice(begin, cut), end: cut };
}

function quotedCell(text: string, begin: number): Cell {
  for (let at = begin + 1;; at += 2) {
    at = text.indexOf('"', at);
    if (at < 0) refuse(text, begin, "close its quotes", "the end of the text");
    if (text[at + 1] === '"') continue;
    const end = at + 1;
    if (end < text.length && !/^(,|\r?\n)/.test(text.slice(end, end + 2))) {
      refuse(text, end, "have a comma or a new line after quotes", JSON.stringify(text[end]));
    }
    return { cell: text.slice(begin + 1, at).replaceAll('""', '"'), end };
  }
}

function refuse(text: string, at: number, rule: string, got: string): never {
  const line = text.slice(0, at).split("\n").length;
  throw new SyntaxError(`Cannot read the CSV as it must ${rule}: got ${got} at line ${line}`);
}
