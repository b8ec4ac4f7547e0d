/** Claims about lib/tokenizer_file.ts: what a tokenizer.json says, and what is refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { readTokenizerFile } from "../lib/tokenizer_file.ts";
import { document, inTokenizerFolder } from "./made_tokenizers.ts";

async function read(changes: Record<string, unknown>, story: (file: TokenizerFile) => void) {
  await inTokenizerFolder({ "tokenizer.json": document(changes) }, async (folder) => {
    story(await readTokenizerFile(folder));
  });
}

type TokenizerFile = Awaited<ReturnType<typeof readTokenizerFile>>;

const special = [{ id: 7, content: "<s>", special: true }, { id: 9, content: "tab" }];

test("tokens are the model's and the added ones, by id, holes left open", () =>
  read({ added_tokens: special }, (file) => {
    assert.deepEqual([...file.tokens], [
      ...["a", "b", "c", "d", "e", "ab", "-", "<s>", undefined, "tab"],
    ]);
    assert.deepEqual([[...file.added], [...file.special]], [[7, 9], [7]]);
  }));

const template = (single: unknown) => ({
  type: "TemplateProcessing",
  single,
  pair: [],
  special_tokens: { "<s>": { id: "<s>", ids: [7], tokens: ["<s>"] } },
});
const bosThenText = template([{ SpecialToken: { id: "<s>", type_id: 0 } }, {
  Sequence: { id: "A", type_id: 0 },
}]);

/** Each: a post-processor, and the id that it puts before a text. */
const processors: [string, unknown, number | null][] = [
  ["none", null, null],
  ["ByteLevel", { type: "ByteLevel" }, null],
  ["a template that begins with a token", bosThenText, 7],
  ["a template that begins with the text", template([{ Sequence: { id: "A" } }]), null],
  ["a sequence of both", {
    type: "Sequence",
    processors: [{ type: "ByteLevel" }, bosThenText],
  }, 7],
  ["BERT's", { type: "BertProcessing", cls: ["<s>", 7], sep: ["<s>", 7] }, 7],
];

for (const [what, post_processor, leading] of processors) {
  test(`the post-processor is ${what}: ${leading ?? "nothing"} comes first`, () =>
    read({ post_processor, added_tokens: special }, (file) => assert.equal(file.leading, leading)));
}

test("tokenizer_config.json may be absent", () =>
  read({}, (file) => assert.deepEqual(Object.keys(file.settings), [])));

const model = document().model as Record<string, unknown>;
const many = (part: unknown) => ({
  type: "Sequence",
  normalizers: Array.from({ length: 70 }, () => part),
});
const deep = (depth: number): unknown =>
  depth === 0 ? null : { type: "Sequence", normalizers: [deep(depth - 1)] };

/** Each: what is changed in a sound document, and the end of the refusal. */
const refused: Record<string, [Record<string, unknown>, RegExp]> = {
  "no model": [{ model: null }, /have a model: got null$/],
  "a model of an unknown type": [
    { model: { ...model, type: "Magic" } },
    /type BPE, .*: got "Magic"$/,
  ],
  "no vocabulary": [{ model: { ...model, vocab: undefined } }, /have a vocabulary: got nothing$/],
  "a huge id": [{ model: { ...model, vocab: { a: 2 ** 32 } } }, /got 4294967296 of "a"$/],
  "a negative id": [{ model: { ...model, vocab: { a: -1 } } }, /have ids from 0 to 4194303/],
  "half an id": [{ model: { ...model, vocab: { a: 0.5 } } }, /have ids/],
  "no merges": [{ model: { ...model, merges: null } }, /have merges: got null$/],
  "a merge of one token": [
    { model: { ...model, merges: ["ab"] } },
    /of two tokens each: got "ab"$/,
  ],
  "a merge of numbers": [{ model: { ...model, merges: [["a", 1]] } }, /of two tokens each/],
  "pieces without scores": [
    { model: { type: "Unigram", vocab: [["a"]] } },
    /have pieces of at most 64 characters: got \["a"\]$/,
  ],
  "endless words": [
    { model: { ...model, type: "WordPiece", max_input_chars_per_word: 1e9 } },
    /words of at most 1000 characters/,
  ],
  "a part of an unknown type": [
    { pre_tokenizer: { type: "FixedLength", length: 0 } },
    /have a pre_tokenizer of a known type: got "FixedLength"$/,
  ],
  "too many parts": [{ normalizer: many({ type: "NFC" }) }, /have at most 64 parts: got more$/],
  "parts nested too deep": [{ normalizer: deep(64) }, /nest at most 127 deep|at most 64 parts/],
  "a Split without a pattern": [
    { pre_tokenizer: { type: "Split", pattern: {} } },
    /give Split a pattern, .*: got \{\}$/,
  ],
  "a Split of an unknown behavior": [
    { pre_tokenizer: { type: "Split", pattern: { String: "a" }, behavior: "isolated" } },
    /have a Split with a known behavior: got "isolated"$/,
  ],
  "a Punctuation of an unknown behavior": [
    { pre_tokenizer: { type: "Punctuation", behavior: "Kept" } },
    /have a Punctuation with a known behavior: got "Kept"$/,
  ],
  "a Metaspace of an unknown scheme": [
    { decoder: { type: "Metaspace", prepend_scheme: "last" } },
    /have a Metaspace with a known prepend_scheme: got "last"$/,
  ],
  "a Metaspace without a mark": [
    { pre_tokenizer: { type: "Metaspace", replacement: "" } },
    /a Metaspace that puts one character for a blank: got ""$/,
  ],
  "a Unigram that falls back to bytes it lacks": [
    { model: { type: "Unigram", byte_fallback: true, vocab: [["<0x00>", 0], ["<0x02>", 0]] } },
    /have all 256 bytes as tokens to fall back to: got none for <0x01>$/,
  ],
  "an added token that is a single word": [
    { added_tokens: [{ id: 7, content: "bc", single_word: true }] },
    /have no added token that matches only a single_word: got "bc"$/,
  ],
  "an empty pattern": [
    { normalizer: { type: "Replace", pattern: { String: "" }, content: "a" } },
    /give Replace a pattern/,
  ],
  "a Replace by nothing": [
    { decoder: { type: "Replace", pattern: { String: "a" } } },
    /say what a Replace puts in: got nothing$/,
  ],
  "a long added token": [
    { added_tokens: [{ id: 7, content: "a".repeat(300) }] },
    /added tokens of id and at most 256 characters/,
  ],
  "an added token without id": [{ added_tokens: [{ content: "a" }] }, /added tokens of id/],
  "a BOS that is no token": [
    { post_processor: bosThenText },
    /put a token of its own before a text: got id 7$/,
  ],
};

for (const [what, [changes, message]] of Object.entries(refused)) {
  test(`${what} is refused in one line`, () =>
    inTokenizerFolder({ "tokenizer.json": document(changes) }, async (folder) => {
      await assert.rejects(readTokenizerFile(folder), (error: Error) => {
        assert.match(error.message, /^Cannot (use|read) ".*tokenizer\.json" as /);
        assert.match(error.message, message);
        return !error.message.includes("\n");
      });
    }));
}

test("a folder without tokenizer.json is refused by the name of the file", () =>
  inTokenizerFolder({}, (folder) =>
    assert.rejects(
      readTokenizerFile(folder),
      /^Error: Cannot read ".*tokenizer\.json" as it must be a file: got nothing there$/,
    )));

test("broken JSON, and JSON that two readers would read in two ways, are refused", () =>
  inTokenizerFolder(
    { "tokenizer.json": '{"model": 1, "model": 2}' },
    (folder) => assert.rejects(readTokenizerFile(folder), /keys of an object must differ/),
  ));
