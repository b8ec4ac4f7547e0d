/** Claims about lib/tokenizer_parts.ts: how texts are cut and replaced, as the format has it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { byteToken } from "../lib/tokenizer_file.ts";
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

test("split() Contiguous joins what lies between matches too, as inverted it may", () => {
  const options = { behavior: "Contiguous", invert: true };
  assert.deepEqual(split("1 a", [[0, 1], [1, 2]], options), ["1 ", "a"]);
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

/** Each: a pre-tokenizer, a text, and what Hugging Face's own tokenizers cut it into. */
const cuts: [Record<string, unknown>, string, string[]][] = [
  [{ type: "Whitespace" }, "café_1\u0085naïve!?\ufeff", ["café_1", "naïve", "!?\ufeff"]],
  [{ type: "WhitespaceSplit" }, "a.b\u0085\ufeffc", ["a.b", "\ufeffc"]],
  [{ type: "BertPreTokenizer" }, "né.\u0085$\ufeff", ["né", ".", "$", "\ufeff"]],
  [{ type: "Digits", individual_digits: true }, "a12²३", ["a", "1", "2", "²", "३"]],
  [{ type: "Digits", individual_digits: false }, "a12²३b", ["a", "12²३", "b"]],
  [{ type: "Punctuation" }, "a..", ["a", ".", "."]],
  [{ type: "Punctuation", behavior: "Isolated" }, "a—^b", ["a", "—", "^", "b"]],
  [{ type: "Punctuation", behavior: "Removed" }, "a..b", ["a", "b"]],
  [{ type: "Punctuation", behavior: "MergedWithPrevious" }, "a..b", ["a.", ".", "b"]],
  [{ type: "Punctuation", behavior: "MergedWithNext" }, "a..b", ["a", ".", ".b"]],
  [{ type: "Punctuation", behavior: "Contiguous" }, "a..b", ["a", "..", "b"]],
];

for (const [pre_tokenizer, text, pieces] of cuts) {
  testUnless(noPackage, `${JSON.stringify(pre_tokenizer)} cuts as the original does`, async () => {
    const vocab = Object.fromEntries(["?", ...new Set(pieces)].map((piece, id) => [piece, id]));
    const model = { type: "WordLevel", unk_token: "?", vocab };
    const tokenizer = await madeTokenizer({ pre_tokenizer, model });
    assert.deepEqual(tokenizer.encode(text).map((id) => tokenizer.file.tokens[id]), pieces);
  });
}

testUnless(noPackage, "a ByteLevel takes U+FEFF for no blank, and U+0085 for one", async () => {
  const vocab = { "ï»¿!": 0, "Â\u0127": 1, "Â\u0127a": 2, "a": 3, "ï»¿": 4, "!": 5 };
  const merges = ["ï »", "ï» ¿", "ï»¿ !", "Â \u0127", "Â\u0127 a"];
  const pre_tokenizer = { type: "ByteLevel", add_prefix_space: false, use_regex: true };
  const tokenizer = await madeTokenizer({ pre_tokenizer, model: { type: "BPE", vocab, merges } });
  assert.deepEqual(tokenizer.encode("\ufeff!\u0085a"), [0, 1, 3]);
});

/** Each: a decoder, and the texts of "_ a" and of "__a a_". */
const unmarked: [Record<string, unknown>, [string, string]][] = [
  [{}, ["a", "aa "]],
  [{ prepend_scheme: "first" }, ["a", "aa "]],
  [{ prepend_scheme: "never" }, [" a", "  aa "]],
  [{ add_prefix_space: false }, [" a", "  aa "]],
];

for (const [options, texts] of unmarked) {
  testUnless(
    noPackage,
    `Metaspace ${JSON.stringify(options)} decodes "_ a" to ${JSON.stringify(texts[0])}`,
    async () => {
      const tokenizer = await madeTokenizer({
        model: { type: "BPE", vocab: { a: 0, _: 1, "__a": 2, "a_": 3 }, merges: [] },
        decoder: { type: "Metaspace", replacement: "_", ...options },
      });
      assert.deepEqual([tokenizer.decode([1, 0]), tokenizer.decode([2, 3])], texts);
      const next = tokenizer.stream();
      assert.equal([2, 3, null].map((id) => next(id)).join(""), texts[1]);
    },
  );
}

testUnless(noPackage, "a Unigram that falls back to bytes has them for what it lacks", async () => {
  const bytes = Array.from({ length: 256 }, (_, byte) => [byteToken(byte), -15]);
  const vocab = [["<unk>", 0], ["a", -1], ["é😀", -3], ...bytes];
  const model = { type: "Unigram", unk_id: 0, byte_fallback: true, vocab };
  const tokenizer = await madeTokenizer({ model, decoder: { type: "ByteFallback" } });
  assert.deepEqual(tokenizer.encode("aé"), [1, 3 + 0xc3, 3 + 0xa9]);
  assert.deepEqual(tokenizer.encode("é😀a"), [2, 1]);
  assert.equal(tokenizer.decode(tokenizer.encode("ü€a")), "ü€a");
});

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
