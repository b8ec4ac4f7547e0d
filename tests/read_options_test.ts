/** Claims about lib/read_options.ts; formats and groups by tests/cli_test.ts. */
import assert from "node:assert/strict";
import { constants } from "node:buffer";
import { truncate, writeFile } from "node:fs/promises";
import { test } from "node:test";
import {
  callersPath,
  oneLine,
  readNumber,
  readOneOf,
  readRecipe,
  readText,
  UsageError,
} from "../lib/read_options.ts";
import { scaleFormat } from "../lib/scale_format.ts";
import { inFolder } from "./made_checkpoints.ts";
import { repeated, testUnless } from "./test_unless.ts";

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
    ["-1", { least: 0, whole: false }, /a number of at least 0: got "-1"$/],
    ["1e308", { least: 0, whole: false }, /a number from 0 to 9007199254740991: got "1e308"$/],
    ["1e300", { least: 1 }, /a whole number from 1 to 9007199254740991: got "1e300"$/],
    ["1e999", { least: 1 }, /from 1 to 9007199254740991/],
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

test("a text file must be UTF-8", () =>
  inFolder(async (at) => {
    await writeFile(at("a"), "\ufeffä\n");
    assert.equal(await readText(at("a")), "\ufeffä\n");
    await writeFile(at("b"), Uint8Array.of(0x61, 0xff));
    await assert.rejects(readText(at("b")), /must be UTF-8: got other bytes$/);
    await assert.rejects(readText(at("c")), /must be a text file: got nothing there$/);
  }));

const most = constants.MAX_STRING_LENGTH;
testUnless(
  repeated ?? (most > 2 ** 30 ? "strings may be longer than a test's file" : null),
  "a text file that is longer than a string can be is told by its size",
  () =>
    inFolder(async (at) => {
      await writeFile(at("long"), "");
      await truncate(at("long"), most + 1); // zeros are UTF-8, and take no room on most disks
      await assert.rejects(readText(at("long")), {
        message: RegExp(`must fit in a string of ${most} characters: got ${most + 1} bytes$`),
      });
    }),
);

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
