/** Claims about lib/text_windows.ts: which tokens stand in which window. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { textWindows, type TextWindowsOptions, wikitextText } from "../lib/text_windows.ts";
import { openTokenizer } from "../lib/tokenizer.ts";
import { absent, noPackage, pathOf } from "./made_tokenizers.ts";
import { testUnless } from "./test_unless.ts";

/** A token a letter, a is 1; BOS is 0. */
const letters = {
  bos: 0 as number | null,
  encode: (text: string, { bos = true } = {}) => [
    ...bos ? [0] : [],
    ...[...text].map((letter) => letter.charCodeAt(0) - 96),
  ],
};

const cut = (text: string, options: TextWindowsOptions) =>
  textWindows(letters, text, options).windows.map((window) => [...window]);

test("auto: one BOS, at the start of the text; the tail is dropped", () => {
  assert.deepEqual(cut("abcdef", { context: 3 }), [[0, 1, 2], [3, 4, 5]]);
});

test("none: no BOS", () => {
  assert.deepEqual(cut("abcdef", { context: 3, bos: "none" }), [[1, 2, 3], [4, 5, 6]]);
});

test("window: a BOS at the start of each, in place of a token", () => {
  assert.deepEqual(cut("abcdef", { context: 3, bos: "window" }), [[0, 1, 2], [0, 3, 4], [0, 5, 6]]);
});

test("the first windows alone, where fewer are asked for", () => {
  assert.deepEqual(cut("abcdef", { context: 2, windows: 1 }), [[0, 1]]);
});

const refused: [string, TextWindowsOptions, RegExp][] = [
  ["ab", { context: 4 }, /must fill a window of 4 tokens: got 3$/],
  ["", { context: 2, bos: "window" }, /must fill a window of 2 tokens: got 0$/],
  ["abc", { context: 1 }, /windows must have 2 tokens: got 1$/],
  ["abc", { context: 2.5 }, /windows must have 2 tokens: got 2.5$/],
  ["abc", { context: 2, windows: 0 }, /must be 1 window or more: got 0$/],
];

for (const [text, options, message] of refused) {
  test(`"${text}" in ${JSON.stringify(options)} is refused`, () => {
    assert.throws(() => cut(text, options), { name: "RangeError", message });
  });
}

test("a BOS for each window is refused where the tokenizer has none", () => {
  const options = { context: 2, bos: "window" } as const;
  assert.throws(
    () => textWindows({ ...letters, bos: null }, "abc", options),
    /must have one: got none/,
  );
});

testUnless(
  noPackage,
  "tiny-llama's held-out text comes to the golden number of windows",
  async () => {
    const tokenizer = await openTokenizer(pathOf("examples/tiny-llama"));
    const text = readFileSync(pathOf("examples/tiny-llama/heldout.txt"), "utf8");
    const golden = JSON.parse(readFileSync(pathOf("tests/golden/tiny-llama.json"), "utf8"));
    const { windows } = textWindows(tokenizer, text, { context: 256 });
    assert.equal(windows.length, golden.text.windows);
  },
);

test("wikitextText() joins lines, blank ones emptied, by two newlines", () => {
  const raw = " \n = Title = \n \n Text .\n More .\n \t \n";
  const rebuilt = "\n\n = Title = \n\n\n\n\n Text .\n\n\n More .\n\n\n";
  assert.equal(wikitextText(raw), rebuilt);
  assert.equal(wikitextText(raw.replaceAll("\n", "\r\n")), rebuilt);
  assert.equal(wikitextText("a"), "a");
  assert.equal(wikitextText(""), "");
});

testUnless(
  absent("../shared/tokenizers/llama-hf") ?? absent("../shared/text/wikitext2.test.raw"),
  "WikiText-2's test split is the 341,469 tokens that LLaMA's users report, with BOS",
  async () => {
    const tokenizer = await openTokenizer(pathOf("../shared/tokenizers/llama-hf"));
    // This copy of the file has lost the 1,467 blank lines; where they stand does not change how many
    // tokens there are, as each adds two newlines and these stay tokens of their own
    const lines = readFileSync(pathOf("../shared/text/wikitext2.test.raw"), "utf8").split("\r\n");
    const raw = lines.map((line, i) => i < 1467 ? ` \n${line}` : line).join("\n");
    const { textTokens, windows } = textWindows(tokenizer, wikitextText(raw), { context: 2048 });
    assert.deepEqual([textTokens + 1, windows.length], [341_469, 166]);
  },
);
