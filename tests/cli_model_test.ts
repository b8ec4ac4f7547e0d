/** Claims about generate, eval and compare by processes of their own. */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { writeFile } from "node:fs/promises";
import process from "node:process";
import { test } from "node:test";
import { afpq } from "./afpq_process.ts";
import { HELDOUT, TINY } from "./golden_windows.ts";
import { type At, inFolder } from "./made_checkpoints.ts";
import { noPackage } from "./made_tokenizers.ts";
import { writeTalkingModel } from "./talking_model.ts";
import { testUnless } from "./test_unless.ts";

/** Bun ends a test after 5 s unless told. */
const slow = { timeout: 120_000 };
const CPU = ["--binding", "cpu"];
const ONCE = ["generate", TINY, "--prompt", "Once upon a time", "--tokens", "5", ...CPU];

testUnless(noPackage, "generate prints the text and nothing else, on both streams", async () => {
  const { code, stdout, stderr } = await afpq(ONCE);
  assert.deepEqual([code, stdout, stderr], [0, " of peace. The United\n", ""]);
});

testUnless(noPackage, "--quiet prints the text too, --stats what it cost on stderr", async () => {
  const { stdout, stderr } = await afpq([...ONCE, "--stats"]);
  assert.equal(stdout, " of peace. The United\n");
  assert.match(stderr, /^5 tokens, prompt [\d.]+ tokens\/s, then [\d.]+, on TypeScript by cpu\n/);
  assert.match(stderr, /\nbits a weight: 16 in the linears, 16 with the head\n$/);
  const quiet = await afpq([...ONCE, "--stats", "--quiet"]);
  assert.deepEqual([quiet.stdout, quiet.stderr], [" of peace. The United\n", ""]);
});

testUnless(noPackage, "--json prints one document in place of the text", async () => {
  const { code, stdout, stderr } = await afpq([...ONCE, "--json"]);
  assert.deepEqual([code, stderr], [0, ""]);
  const { text, ids, prefillTokensPerSecond, decodeTokensPerSecond, device } = JSON.parse(stdout);
  assert.deepEqual([text, ids], [" of peace. The United", [268, 708, 47, 352, 505]]);
  assert.ok(prefillTokensPerSecond > 0 && decodeTokensPerSecond > 0);
  assert.equal(device.binding, "cpu");
});

/** Sends Ctrl-C as soon as there is text. */
function stopAtText(child: ChildProcess): void {
  child.stdout!.once("data", () => process.kill(child.pid!, "SIGINT"));
}

testUnless(
  noPackage,
  "Ctrl-C ends a text with what was written and a newline, exit code 130",
  async () => {
    const { code, stdout, stderr } = await afpq(
      ["generate", TINY, "--prompt", "Once upon a time", "--tokens", "200", ...CPU],
      { onStart: stopAtText },
    );
    assert.deepEqual([code, stderr], [130, ""]);
    assert.match(stdout, /^ of\b.*\n$/s);
    assert.ok(stdout.length < 600);
  },
);

/** The talking model with a text. */
async function makeAll(at: At): Promise<void> {
  await writeTalkingModel(at("m"));
  await writeFile(at("text"), "abcde".repeat(20));
}

testUnless(
  noPackage,
  "control characters of a text do not reach the terminal",
  () =>
    inFolder(async (at) => {
      const vocab = { a: 0, "\x1b[2J": 1, "\u202e": 2, "\r": 3, "\x07": 4, "\b": 5, "\n": 6 };
      const { document } = await import("./made_tokenizers.ts");
      const model = { type: "BPE", unk_token: null, vocab, merges: [] };
      await writeTalkingModel(at("m"), { tokenizer: document({ model }) });
      const args = ["generate", at("m"), "--prompt", "a", "--temperature", "5", ...CPU];
      const { stdout } = await afpq([...args, "--tokens", "40"]);
      // deno-lint-ignore no-control-regex
      assert.ok(!/[\x00-\x09\x0b-\x1f\u202e]/.test(stdout));
      assert.match(stdout, /\?/);
    }),
);

testUnless(noPackage, "eval prints a line, or the document", () =>
  inFolder(async (at) => {
    await makeAll(at);
    const args = ["eval", at("m"), "--text", at("text"), "--context", "10", ...CPU];
    const told = await afpq(args);
    assert.deepEqual([told.code, told.stderr], [0, ""]);
    assert.match(
      told.stdout,
      /^perplexity [\d.]+ ± [\d.]+, [\d.]+ ± [\d.]+ nats a token\n72 tokens/,
    );
    const { stdout } = await afpq([...args, "--json"]);
    assert.equal(JSON.parse(stdout).tokens, 72);
  }));

testUnless(
  noPackage,
  "compare prints a row a model, or the document",
  () =>
    inFolder(async (at) => {
      await makeAll(at);
      const args = ["compare", at("m"), at("m"), "--text", at("text"), "--context", "10", ...CPU];
      const told = await afpq(args);
      assert.deepEqual([told.code, told.stderr], [0, ""]);
      assert.match(told.stdout, /\nA .*\nB .*\n\nKL divergence of B from A 0 ± 0 nats a token\n/);
      assert.deepEqual(Object.keys(JSON.parse((await afpq([...args, "--json"])).stdout)), [
        "a",
        "b",
        "kl",
        "top1",
        "tokens",
      ]);
    }),
);

const usages: [args: string[], says: RegExp][] = [
  [["generate", "m"], /--prompt must be given/],
  [["generate", "m", "--prompt", "x", "--tokens", "no"], /--tokens must be a whole number/],
  [["generate", "m", "--prompt", "x", "--top-p", "0"], /--top-p must be a number above 0/],
  [["generate", "m", "--prompt", "x", "--head", "nf4"], /did you mean "nf4-asym"\?/],
  [["eval", "m"], /either --text or --choices must be given: got none; see afpq eval --help/],
  [["eval", "m", "--text", "t", "--bos", "al"], /must be one of auto, window, none/],
  [["compare", "a", "--text", "t"], /B must be given/],
  [["compare", "a", "b"], /--text must be given/],
];

test("wrong usage is exit code 2, in one line", slow, async () => {
  for (const [args, says] of usages) {
    const { code, stdout, stderr } = await afpq(args);
    assert.match(stderr, says);
    assert.deepEqual([code, stdout, stderr.split("\n").length], [2, "", 2], args.join(" "));
  }
});

const refusals: [args: (at: At) => string[], says: RegExp][] = [
  [
    (at) => ["generate", at("no"), "--prompt", "a"],
    /must be a folder or a file: got nothing there/,
  ],
  [(at) => ["generate", at("m"), "--prompt", "a".repeat(65)], /1 to 64 tokens/],
  [(at) => ["generate", at("m"), "--prompt", "z"], /1 to 64 tokens, the model's context: got 0/],
  [(at) => ["eval", at("m"), "--text", at("no")], /must be a text file: got nothing there/],
  [(at) => ["compare", at("m"), TINY, "--text", HELDOUT], /must have the same tokens/],
];

testUnless(
  noPackage,
  "what cannot be run is exit code 1, in one line, nothing on stdout",
  () =>
    inFolder(async (at) => {
      await makeAll(at);
      for (const [args, says] of refusals) {
        const { code, stdout, stderr } = await afpq([...args(at), "--json", ...CPU]);
        assert.match(stderr, says);
        assert.deepEqual([code, stdout, stderr.split("\n").length], [1, "", 2], stderr);
      }
    }),
);
