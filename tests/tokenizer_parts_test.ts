/** Claims about lib/tokenizer_parts.ts: how texts are cut and replaced, as the format has it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { cutter, replace, split } from "../lib/tokenizer_parts.ts";
import { madeTokenizer, noPackage } from "./made_tokenizers.ts";
import { uniform } from "./random.ts";
import { testUnless } from "./test_unless.ts";

/** "the-final--countdown" cut at "-", as Hugging Face documents it. */
const behaviors: Record<string, string[]> = {
  Isolated: ["the", "-", "final", "-", "-", "countdown"],
  Removed: ["the", "final", "countdown"],
  MergedWithPrevious: ["the-", "final-", "-", "countdown"],
  MergedWithNext: ["the", "-final", "-", "-countdown"],
  Contiguous: ["the", "-", "final", "--", "countdown"],
};

for (const [behavior, pieces] of Object.entries(behaviors)) {
  test(`split() ${behavior}`, () => {
    const found: [number, number][] = [[3, 4], [9, 10], [10, 11]];
    assert.deepEqual(split("the-final--countdown", found, { behavior }), pieces);
  });
}

test("split() inverted keeps the matches where it would keep the rest", () => {
  const options = { behavior: "Removed", invert: true };
  assert.deepEqual(split("a-b", [[0, 1], [2, 3]], options), ["a", "b"]);
});

test("replace() puts its content in as it is", () => {
  assert.equal(replace("a b c", [[1, 2], [3, 4]], "$&$'"), "a$&$'b$&$'c");
});

test("replace() refuses what grows without measure", () => {
  const found = Array.from({ length: 2000 }, (_, i): [number, number] => [i, i + 1]);
  assert.throws(() => replace("a".repeat(2000), found, "b".repeat(1000)), {
    name: "RangeError",
    message: /must grow at most 16-fold: got 2000 times 1000 characters$/,
  });
});

test("cutter() cuts where no merge reaches across, between characters", () => {
  const cut = cutter(["a b", "ab a", ["😀", "a"]]);
  assert.deepEqual(cut("abab"), ["abab"]);
  assert.deepEqual(cut("acb😀ac😀"), ["a", "c", "b", "😀a", "c", "😀"]);
});

testUnless(noPackage, "long words get the same tokens whole and in pieces", async () => {
  const vocab = Object.fromEntries(
    ["a", "b", "c", "ab", "abc", "ca", "cab", "bb", "abbb"].map((token, id) => [token, id]),
  );
  const merges = ["a b", "ab c", "c a", "b b", "c ab", "ab bb"];
  const tokenizer = await madeTokenizer({ model: { type: "BPE", vocab, merges } });
  const next = uniform(11);
  for (let round = 0; round < 50; round++) {
    const text = Array.from({ length: 300 }, () => "abc"[Math.floor(next() * 3)]).join("");
    assert.deepEqual(tokenizer.encode(text), mergeAll(text, merges).map((t) => vocab[t]));
  }
});

/** BPE as it is defined: joins the leftmost pair of the first merge that applies, again and again. */
function mergeAll(text: string, merges: string[]): string[] {
  const parts = [...text];
  for (;;) {
    const at = merges.map((merge) => parts.findIndex((p, i) => `${p} ${parts[i + 1]}` === merge))
      .find((i) => i >= 0);
    if (at === undefined) return parts;
    parts.splice(at, 2, parts[at] + parts[at + 1]);
  }
}

/** Each: a pre-tokenizer, a text, its tokens. The vocabulary has a, b, c, d, e, ab and -. */
const preTokenizers: [string, Record<string, unknown>, string, string[]][] = [
  ["Split by a string", splitBy({ String: "-" }, "Removed"), "ab-ab", ["ab", "ab"]],
  ["Split by a pattern", splitBy({ Regex: "a(?=b)" }, "Isolated"), "ab", ["a", "b"]],
  ["Split by a pattern, inverted", splitBy({ Regex: "[a-c]" }, "Removed", true), "ab-", ["a", "b"]],
];

function splitBy(pattern: unknown, behavior: string, invert = false) {
  return { type: "Split", pattern, behavior, invert };
}

for (const [what, pre_tokenizer, text, tokens] of preTokenizers) {
  testUnless(noPackage, `${what}: ${text} is ${tokens.join(" ")}`, async () => {
    const tokenizer = await madeTokenizer({ pre_tokenizer });
    assert.deepEqual(tokenizer.encode(text).map((id) => tokenizer.file.tokens[id]), tokens);
  });
}

/** Each: a Metaspace, and the tokens of "a  b". */
const metaspaces: [Record<string, unknown>, string[]][] = [
  [{}, ["_a", "_", "_b"]],
  [{ prepend_scheme: "never" }, ["a", "_", "_b"]],
  [{ add_prefix_space: false }, ["a", "_", "_b"]],
  [{ prepend_scheme: "first", split: false }, ["_a", "__", "b"]],
];

for (const [options, tokens] of metaspaces) {
  testUnless(
    noPackage,
    `Metaspace ${JSON.stringify(options)} gives ${tokens.join(" ")}`,
    async () => {
      const vocab = { a: 0, b: 1, _: 2, "__": 3, "_a": 4, "_b": 5 };
      const tokenizer = await madeTokenizer({
        model: { type: "BPE", vocab, merges: ["_ a", "_ _", "_ b"] },
        pre_tokenizer: { type: "Metaspace", replacement: "_", ...options },
      });
      assert.deepEqual(tokenizer.encode("a  b").map((id) => tokenizer.file.tokens[id]), tokens);
    },
  );
}

/** Splits of byte-level tokenizers: one digit at a time in Qwen's, up to three in LLaMA-3's. */
const splits = { "Qwen2, 2.5 and 3": "\\p{N}", "LLaMA-3": "\\p{N}{1,3}" };

for (const [family, number] of Object.entries(splits)) {
  testUnless(
    noPackage,
    `the byte-level tokenizer of ${family} cuts and joins as theirs`,
    async () => {
      const pattern = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" + number +
        "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
      const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: false };
      const pieces = ["1", "2", "'", "S", "b", "\u0120", "a", "\u010a", "\u00c3", "\u00a9"];
      const merges = ["1 2", "' S", "S b", "\u0120 a", "\u010a \u010a", "\u00c3 \u00a9"];
      const tokens = [...pieces, ...merges.map((merge) => merge.replace(" ", ""))];
      const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
      const tokenizer = await madeTokenizer({
        normalizer: { type: "NFC" },
        pre_tokenizer: {
          type: "Sequence",
          pretokenizers: [splitBy({ Regex: pattern }, "Isolated"), {
            ...byteLevel,
            use_regex: false,
          }],
        },
        post_processor: byteLevel,
        decoder: byteLevel,
        model: { type: "BPE", unk_token: null, vocab, merges },
      });
      const text = " a'Sb12\u00e9\n\n";
      const ids = tokenizer.encode(text);
      const digits = family === "LLaMA-3" ? ["12"] : ["1", "2"];
      assert.deepEqual(
        ids.map((id) => tokens[id]),
        ["\u0120a", "'S", "b", ...digits, "\u00c3\u00a9", "\u010a\u010a"],
      );
      assert.equal(tokenizer.decode(ids), text);
      assert.equal(tokenizer.addsBos, false);
      assert.deepEqual(tokenizer.encode("e\u0301"), tokenizer.encode("\u00e9"));
    },
  );
}
