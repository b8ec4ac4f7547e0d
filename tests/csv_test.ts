/** Claims about lib/csv.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCsv } from "../lib/csv.ts";

const cases: [string, string[][]][] = [
  ["", []],
  ["a", [["a"]]],
  ["a,b\nc,d\n", [["a", "b"], ["c", "d"]]],
  ["a,b\r\nc,d\r\n", [["a", "b"], ["c", "d"]]],
  ['"a,b",c', [["a,b", "c"]]],
  ['"a\nb","c\r\nd"', [["a\nb", "c\r\nd"]]],
  ['"say ""hi""",""""', [['say "hi"', '"']]],
  ['"",', [["", ""]]],
  ["a,\n,b", [["a", ""], ["", "b"]]],
  ["\n\na\n\n", [["a"]]],
  ['5" disk,b', [['5" disk', "b"]]],
  ["\ufeffa,b", [["a", "b"]]],
  [" a , b ", [[" a ", " b "]]],
];

for (const [text, rows] of cases) {
  test(`${JSON.stringify(text)} is ${JSON.stringify(rows)}`, () => {
    assert.deepEqual(parseCsv(text), rows);
  });
}

test("an open quote, and what follows a closed one, are refused by line", () => {
  assert.throws(() => parseCsv('a\n"b'), {
    name: "SyntaxError",
    message: "Cannot read the CSV as it must close its quotes: got the end of the text at line 2",
  });
  assert.throws(() => parseCsv('"a"b'), /comma or a new line after quotes: got "b" at line 1$/);
});
