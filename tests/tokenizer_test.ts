/** Claims about lib/tokenizer.ts: ids of real tokenizers, and text that comes back as it was. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { openSafetensors } from "../lib/safetensors.ts";
import { openTokenizer, requireTokenizerFor, type Tokenizer } from "../lib/tokenizer.ts";
import {
  absent,
  inTokenizerFolder,
  llama3Files,
  madeTokenizer,
  noPackage,
  pathOf,
} from "./made_tokenizers.ts";
import { uniform } from "./random.ts";
import { testUnless } from "./test_unless.ts";

const TINY = "examples/tiny-llama";
const LLAMA = "../shared/tokenizers/llama-hf";
const STORIES = "../shared/models/stories260K";

testUnless(noPackage, "tiny-llama's held-out text has the ids of the golden values", async () => {
  const tokenizer = await openTokenizer(pathOf(TINY));
  const text = readFileSync(pathOf(`${TINY}/heldout.txt`), "utf8");
  const golden = await openSafetensors(pathOf("tests/golden/tiny-llama.safetensors"));
  const bytes = await golden.tensors.find(({ name }) => name === "text.ids")!.bytes();
  assert.deepEqual(tokenizer.encode(text), [...new Int32Array(bytes.buffer)]);
});

testUnless(absent(STORIES), "stories260K's tokenizer has the ids of llama2.c", async () => {
  const tokenizer = await openTokenizer(pathOf(STORIES));
  const text = "Once upon a time, there was a little girl named Lily.";
  const ids = [1, 403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421, 395, 317, 426];
  assert.deepEqual(tokenizer.encode(text), ids);
  assert.equal(tokenizer.decode(ids), text);
});

/** Text, and its ids as Hugging Face's own tokenizers are known to give them. */
const llamaIds: [string, number[]][] = [
  ["Hello, world!", [15043, 29892, 3186, 29991]],
  [" Hello", [29871, 15043]],
  ["Once upon a time", [9038, 2501, 263, 931]],
  ["<|end|>", [32007]],
  ["\n", [29871, 13]],
];

for (const [text, ids] of llamaIds) {
  testUnless(absent(LLAMA), `LLaMA's ids of ${JSON.stringify(text)}`, async () => {
    assert.deepEqual((await openTokenizer(pathOf(LLAMA))).encode(text), ids);
  });
}

testUnless(absent(LLAMA), "what LLaMA has no token for becomes its bytes", async () => {
  const tokenizer = await openTokenizer(pathOf(LLAMA));
  const ids = tokenizer.encode("\u{1f9ff}");
  const bytes = ids.slice(1).map((id) => tokenizer.file.tokens[id]);
  assert.deepEqual(bytes, ["<0xF0>", "<0x9F>", "<0xA7>", "<0xBF>"]);
});

const llama3 = await llama3Files();
const noLlama3 = noPackage ?? (typeof llama3 === "string" ? llama3 : null);

async function withLlama3(story: (tokenizer: Tokenizer) => void): Promise<void> {
  await inTokenizerFolder(llama3 as Record<string, unknown>, async (folder) => {
    story(await openTokenizer(folder));
  });
}

testUnless(noLlama3, "LLaMA-3's ids are as published", () =>
  withLlama3((tokenizer) => {
    assert.equal(tokenizer.vocabSize, 128256);
    assert.deepEqual(tokenizer.encode("Hello world!"), [9906, 1917, 0]);
    assert.deepEqual(tokenizer.encode("<|begin_of_text|>hi<|eot_id|>"), [128000, 6151, 128009]);
    assert.deepEqual([tokenizer.bos, tokenizer.eos], [128000, 128001]);
    assert.equal(tokenizer.addsBos, false); // this copy's post-processor puts nothing first
  }));

const texts: Record<string, string> = {
  "no text": "",
  "one blank": " ",
  "leading blanks": "   three before",
  "trailing blanks": "three after   ",
  "tabs and lines": "a\tb\r\n\n\n  c\n",
  "accents, both ways to write them": "déjà vu de\u0301ja\u0300",
  "scripts": "Ελληνικά русский 汉字かな 한국어 עברית हिन्दी",
  "emoji of several characters": "👩‍👩‍👧‍👦 🇪🇺 ❤️",
  "astral characters": "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 🜁",
  "controls": "\0\x01\x7f\u0085\u200b\ufeff",
  "the replacement character": "a\ufffdb\ufffd",
  "contractions and digits": "I'LL've 1234567.89 don't",
  "punctuation the decoders of others tidy": "a . b , c 's n't ! ?",
  "code": "for (let i = 0; i < n; i++) {\n\tx[i] **= 2; // ¾\n}",
};

function roundTrips(tokenizer: Tokenizer): void {
  for (const [what, text] of Object.entries(texts)) {
    const ids = tokenizer.encode(text);
    assert.equal(tokenizer.decode(ids), text, what);
    const next = tokenizer.stream();
    const pieces = [...ids, null].map((id) => next(id));
    assert.equal(pieces.join(""), text, `${what}, streamed`);
    for (const piece of pieces) assert.ok(piece.isWellFormed());
  }
}

testUnless(noPackage, "tiny-llama: text comes back as it was, at once and streamed", async () => {
  roundTrips(await openTokenizer(pathOf(TINY)));
});
for (const path of [LLAMA, STORIES]) {
  testUnless(absent(path), `${path}: text comes back as it was, at once and streamed`, async () => {
    roundTrips(await openTokenizer(pathOf(path)));
  });
}
testUnless(
  noLlama3,
  "LLaMA-3: text comes back as it was, at once and streamed",
  () => withLlama3(roundTrips),
);

testUnless(absent(STORIES), "random ids stream as they decode at once", async () => {
  const next = uniform(3);
  for (const path of [TINY, STORIES]) {
    const tokenizer = await openTokenizer(pathOf(path));
    for (let round = 0; round < 100; round++) {
      const bytesMostly = () => Math.floor(next() * (next() < 0.7 ? 262 : tokenizer.vocabSize));
      const ids = Array.from({ length: 1 + round }, bytesMostly);
      const stream = tokenizer.stream();
      assert.equal([...ids, null].map((id) => stream(id)).join(""), tokenizer.decode(ids));
    }
  }
});

testUnless(
  noPackage,
  "a stream holds a character back until its last byte, and gives what is left at the end",
  async () => {
    const tokenizer = await openTokenizer(pathOf(TINY));
    const ids = tokenizer.encode("é€😀", { bos: false });
    const next = tokenizer.stream();
    const pieces = ids.map((id) => next(id));
    assert.deepEqual(pieces.filter((piece) => piece !== ""), ["é", "€", "😀"]);
    const cut = tokenizer.stream();
    assert.deepEqual([...ids.slice(0, 4), null].map((id) => cut(id)), ["", "é", "", "", "\ufffd"]);
  },
);

testUnless(
  absent(STORIES),
  "a stream that follows a prompt keeps the blank before a word",
  async () => {
    const tokenizer = await openTokenizer(pathOf(STORIES));
    const [prompt, all] = [tokenizer.encode("Once upon"), tokenizer.encode("Once upon a time")];
    const next = tokenizer.stream(prompt);
    assert.equal(all.slice(prompt.length).map((id) => next(id)).join(""), " a time");
  },
);

testUnless(
  noPackage,
  "a BOS comes first where the post-processor puts one, once, and as told",
  async () => {
    const tokenizer = await openTokenizer(pathOf(TINY));
    assert.equal(tokenizer.addsBos, true);
    const plain = tokenizer.encode("be", { bos: false });
    assert.deepEqual(tokenizer.encode("be"), [0, ...plain]);
    assert.deepEqual(tokenizer.encode(""), [0]);
    assert.deepEqual(tokenizer.encode("<s>be", { bos: false }), [0, ...plain]);
  },
);

testUnless(noPackage, "what the post-processor puts behind a text is left out", async () => {
  const added = [{ id: 7, content: "<e>", special: true }];
  const single = [{ Sequence: { id: "A", type_id: 0 } }, {
    SpecialToken: { id: "<e>", type_id: 0 },
  }];
  const special_tokens = { "<e>": { id: "<e>", ids: [7], tokens: ["<e>"] } };
  const post_processor = { type: "TemplateProcessing", single, pair: [], special_tokens };
  const tokenizer = await madeTokenizer({ added_tokens: added, post_processor });
  assert.equal(tokenizer.addsBos, false);
  assert.deepEqual(tokenizer.encode("abc"), [5, 2]);
});

testUnless(noPackage, "tokenizer_config.json names a BOS that is not added by itself", async () => {
  const added_tokens = [{ id: 7, content: "<s>", special: true }];
  const tokenizer = await madeTokenizer({ added_tokens }, { bos_token: { content: "<s>" } });
  assert.deepEqual([tokenizer.bos, tokenizer.eos, tokenizer.addsBos], [7, null, false]);
  assert.deepEqual(tokenizer.encode("ab", { bos: true }), [7, 5]);
});

testUnless(noPackage, "a BOS that is asked for and not there is refused", async () => {
  const tokenizer = await madeTokenizer();
  assert.throws(() => tokenizer.encode("ab", { bos: true }), /must have one: got none$/);
});

testUnless(noPackage, "control tokens are left out of decoded text unless asked for", async () => {
  const tokenizer = await openTokenizer(pathOf(TINY));
  const ids = tokenizer.encode("be");
  assert.equal(tokenizer.decode(ids), "be");
  assert.equal(tokenizer.decode(ids, { special: true }), "<s>be");
});

for (const id of [-1, 2048, 0.5, NaN, 2 ** 40]) {
  testUnless(noPackage, `decode() refuses the id ${id}`, async () => {
    const tokenizer = await openTokenizer(pathOf(TINY));
    const message = `Cannot decode a token as its id must be in the vocabulary of 2048: got ${id}`;
    assert.throws(() => tokenizer.decode([1, id]), { name: "RangeError", message });
    assert.equal(tokenizer.stream()(id), "");
  });
}

testUnless(noPackage, "lone surrogates are encoded as U+FFFD", async () => {
  const tokenizer = await openTokenizer(pathOf(TINY));
  assert.deepEqual(tokenizer.encode("a\ud800b"), tokenizer.encode("a\ufffdb"));
});

testUnless(
  noPackage,
  "requireTokenizerFor() takes padded vocabularies and added tokens, and no other model's",
  async () => {
    const tokenizer = await openTokenizer(pathOf(TINY));
    for (const vocab of [2048, 2049, 2112, 4096]) requireTokenizerFor(tokenizer, vocab);
    const more = await madeTokenizer({
      added_tokens: [{ id: 7, content: "<pad>", special: true }],
    });
    requireTokenizerFor(more, 7);
    for (const vocab of [512, 2047, 32000]) {
      assert.throws(() => requireTokenizerFor(tokenizer, vocab), {
        name: "RangeError",
        message: new RegExp(`must be of its vocabulary, ${vocab} tokens: got 2048$`),
      });
    }
  },
);

testUnless(
  noPackage,
  "a regular-expression bomb in tokenizer.json is refused in one line, soon",
  async () => {
    const pattern = { Regex: "(a+)+$" };
    const bomb = { type: "Split", pattern, behavior: "Isolated", invert: false };
    const text = `${"a".repeat(50)}b`;
    const replaced = { type: "Replace", pattern, content: "" };
    const start = performance.now();
    for (const changes of [{ pre_tokenizer: bomb }, { normalizer: replaced }]) {
      const tokenizer = await madeTokenizer(changes);
      assert.throws(() => tokenizer.encode(text), {
        name: "RangeError",
        message:
          'Cannot match the regular expression "(a+)+$" as it must take at most 500 steps a ' +
          "character: got more",
      });
    }
    const added_tokens = [{ id: 7, content: text }];
    const tokenizer = await madeTokenizer({ decoder: replaced, added_tokens });
    assert.throws(() => tokenizer.decode([7]), /at most 500 steps/);
    assert.ok(performance.now() - start < 20_000);
  },
);

testUnless(
  noPackage,
  "a text that grows without end under its normalizers is refused",
  async () => {
    const twice = { type: "Replace", pattern: { String: "a" }, content: "aa".repeat(50) };
    const normalizers = Array.from({ length: 60 }, () => twice);
    const tokenizer = await madeTokenizer({ normalizer: { type: "Sequence", normalizers } });
    assert.throws(() => tokenizer.encode("aaa"), /must grow at most 16-fold/);
  },
);

testUnless(noPackage, "a gap is no BOS and no EOS where none is named", async () => {
  const vocab = { a: 0, b: 1, c: 3 };
  const tokenizer = await madeTokenizer({ model: { type: "BPE", vocab, merges: [] } }, {});
  assert.deepEqual([tokenizer.bos, tokenizer.eos, tokenizer.vocabSize], [null, null, 4]);
});

testUnless(noPackage, "ids may leave a gap, which is no token", async () => {
  const tokenizer = await madeTokenizer({
    added_tokens: [{ id: 9, content: "<s>", special: true }],
  });
  assert.deepEqual([tokenizer.vocabSize, ...tokenizer.encode("<s>ab")], [10, 9, 5]);
  assert.throws(() => tokenizer.decode([8]), /must be in the vocabulary of 10: got 8$/);
  assert.equal(tokenizer.stream()(8), "");
});
