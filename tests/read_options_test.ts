/** Claims about lib/read_options.ts; formats and groups by tests/cli_test.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  callersPath,
  oneLine,
  readNumber,
  readOneOf,
  readRecipe,
  UsageError,
} from "../lib/read_options.ts";
import { scaleFormat } from "../lib/scale_format.ts";

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

test("a recipe: storage of scales, clip, codebook, or bits alone", () => {
  const scales = (word: string) => readRecipe({ _: [], scales: word }).scales;
  assert.deepEqual(["4", "8", "e1m3-row"].map(scales), [4, 8, scaleFormat("e1m3-row")]);
  const { clip, codebook } = readRecipe({ _: [], clip: true, codebook: "lloyd" });
  assert.deepEqual([clip, codebook], [true, "lloyd"]);
  assert.equal(readRecipe({ _: [], bits: "4.25" }).bits, 4.25);
});

test("what no recipe can be is wrong usage", () => {
  const wrong: [Record<string, string>, RegExp][] = [
    [{ scales: "5" }, /"5" as a storage of scales must be f16, mx, nv, or eXmY-row .*, or 4 or 8$/],
    [{ codebook: "loyd" }, /did you mean "lloyd"\?$/],
    [{ bits: "2" }, /--bits must be a number from 3 to 6/],
    [{ bits: "4", format: "nf4-asym" }, /^Cannot take --format as --bits must choose it/],
    [{ bits: "4", group: "32" }, /^Cannot take --group/],
  ];
  for (const [flags, says] of wrong) {
    const read = () => readRecipe({ _: [], ...flags });
    assert.throws(read, (error: Error) => error instanceof UsageError && says.test(error.message));
  }
});
