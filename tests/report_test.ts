/** Claims about lib/report.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadNpm } from "../lib/npm.ts";
import { renderTable, told } from "../lib/report.ts";

const rows = [
  { tensor: "a.weight", bits: 4.25, error: 0.00850099, count: 12 },
  { tensor: "b|c", bits: 3, error: 1e-9, count: 1234567 },
];

/** Why tables cannot be made here, false where they can. */
const skip = await loadNpm("arquero").then(() => false, (error) => (error as Error).message);

test("text is aligned, numbers to the right", { skip }, async () => {
  assert.equal(
    await renderTable(rows),
    [
      "tensor    bits     error    count",
      "--------  ----  --------  -------",
      "a.weight  4.25  0.008501       12",
      "b|c          3      1e-9  1234567",
      "",
    ].join("\n"),
  );
});

test("Markdown is a table of the same cells", { skip }, async () => {
  const lines = (await renderTable(rows, "markdown")).trimEnd().split("\n");
  assert.equal(lines.length, 4);
  assert.match(lines[0], /^\|tensor\|bits\|error\|count\|$/);
  assert.match(lines[2], /^\|a\.weight\|4\.25\|0\.008501\|12\|$/);
});

test("CSV keeps every digit", { skip }, async () => {
  assert.equal(
    await renderTable(rows, "csv"),
    "tensor,bits,error,count\na.weight,4.25,0.00850099,12\nb|c,3,1e-9,1234567\n",
  );
});

test("more rows than a screen are all told, and none is no table", { skip }, async () => {
  const many = Array.from({ length: 500 }, (_, i) => ({ i }));
  for (const as of ["text", "markdown", "csv"] as const) {
    assert.ok((await renderTable(many, as)).trimEnd().split("\n").length >= 501, as);
    assert.equal(await renderTable([], as), "");
  }
});

test("numbers are told to four digits, whole ones whole", () => {
  assert.deepEqual(
    [0, 12345678, 4.25, 0.123456, 1234.56, 1.5e-10, NaN, -0.5, 1010.3, 99.996, 2e-7].map(told),
    [
      "0",
      "12345678",
      "4.25",
      "0.1235",
      "1235",
      "1.5e-10",
      "NaN",
      "-0.5",
      "1010",
      "100",
      "2e-7",
    ],
  );
});
