/** Claims about lib/read_options.ts; formats and groups by tests/cli_test.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { callersPath, oneLine, readNumber, readOneOf, UsageError } from "../lib/read_options.ts";

test("a number is read as it is written, and absent where its flag is", () => {
  const rule = { least: 0, whole: false };
  for (const word of ["0", "0.5", ".5", "1e-3", "5."]) {
    assert.equal(readNumber({ _: [], n: word }, "n", rule), Number(word));
  }
  assert.equal(readNumber({ _: [] }, "n", rule), undefined);
});

test("what is no number of the kind is wrong usage, with the range", () => {
  const wrong: [string, Parameters<typeof readNumber>[2], RegExp][] = [
    ["x", { least: 1 }, /^Cannot read "x" as --n must be a whole number of at least 1: got "x"$/],
    ["1.5", { least: 1 }, /whole number/],
    ["0x10", { least: 1 }, /got "0x10"/],
    [" 3", { least: 1 }, /got " 3"/],
    ["Infinity", { least: 1 }, /got "Infinity"/],
    ["2", { least: 0, most: 1, whole: false }, /a number from 0 to 1: got "2"/],
    ["1e300", { least: 1 }, /at least 1/],
  ];
  for (const [word, rule, says] of wrong) {
    const read = () => readNumber({ _: [], n: word }, "n", rule);
    assert.throws(read, (error: Error) => error instanceof UsageError && says.test(error.message));
  }
});

test("one of some words, or the nearest is suggested", () => {
  assert.equal(readOneOf("bos", "none", ["auto", "none"]), "none");
  assert.equal(readOneOf("bos", undefined, ["auto", "none"]), undefined);
  assert.throws(() => readOneOf("bos", "non", ["auto", "none"]), /did you mean "none"\?$/);
});

test("an absolute path is the caller's as it is, and a message becomes one line", () => {
  assert.equal(callersPath("/a/b"), "/a/b");
  assert.equal(oneLine(new Error("a\n  b\r\nc")), "a b c");
});
