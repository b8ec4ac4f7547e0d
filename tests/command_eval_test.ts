/** Claims about lib/command_eval.ts: golden perplexities, and what is refused. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { commands } from "../lib/command.ts";
import { evalCommand, readEvalOptions } from "../lib/command_eval.ts";
import type { Binding } from "../lib/device.ts";
import { parseArgs } from "../lib/parse_args.ts";
import { quantizeCheckpoint } from "../lib/quantize_checkpoint.ts";
import { UsageError } from "../lib/read_options.ts";
import { GOLDEN_FORMATS, goldenWindows, HELDOUT, TINY } from "./golden_windows.ts";
import { gpuTest } from "./gpu_devices.ts";
import { type At, context, inFolder, refusal } from "./made_checkpoints.ts";
import { noPackage } from "./made_tokenizers.ts";
import { writeTalkingModel } from "./talking_model.ts";
import { testUnless } from "./test_unless.ts";

/** Options as the command line reads them. */
function options(...args: string[]) {
  const { string, boolean } = commands.eval;
  return readEvalOptions(parseArgs(args, { string: ["_", ...string], boolean }));
}

interface TextDocument {
  nll: number;
  perplexity: number;
  standardError: number | null;
}

/** The document of a run. */
async function run(...args: string[]): Promise<TextDocument> {
  return (await evalCommand(options(...args), context)).json as TextDocument;
}

/** How far a perplexity is from that of the first golden windows, relative. */
function offBy({ perplexity }: TextDocument, golden: Float32Array, windows: number): number {
  const nll = golden.subarray(0, windows).reduce((sum, loss) => sum + loss, 0) / windows;
  return Math.abs(perplexity / Math.exp(nll) - 1);
}

testUnless(
  noPackage,
  "the document has the fields of the contract, nats and their error",
  async () => {
    const json = await run(TINY, "--text", HELDOUT, "--windows", "2", "--binding", "cpu");
    assert.deepEqual(Object.keys(json), [
      "nll",
      "perplexity",
      "tokens",
      "windows",
      "context",
      "standardError",
      "seconds",
      "device",
    ]);
    const [a, b] = await goldenWindows(null);
    const { tokens, windows, context, nll, standardError } = json as typeof json & {
      [field: string]: number;
    };
    assert.deepEqual([tokens, windows, context], [510, 2, 256]);
    assert.ok(Math.abs(nll - (a + b) / 2) < 1e-4);
    assert.ok(Math.abs(standardError! - Math.abs(a - b) / 2) < 1e-4);
    assert.ok(offBy(json, Float32Array.of(a, b), 2) < 5e-4);
  },
);

for (const format of GOLDEN_FORMATS) {
  testUnless(noPackage, `perplexity in ${format} is golden to 0.1 %`, () =>
    inFolder(async (at) => {
      await quantizeCheckpoint(TINY, at("q"), { format });
      const json = await run(at("q"), "--text", HELDOUT, "--windows", "1", "--binding", "cpu");
      assert.ok(offBy(json, await goldenWindows(format), 1) < 1e-3, format);
    }));
}

if (noPackage === null) {
  gpuTest(
    "perplexity is golden, dense to 0.05 % and in 3 bits to 0.1 %",
    (_gpu, device) =>
      inFolder(async (at) => {
        await quantizeCheckpoint(TINY, at("q"), { format: "nf3-asym" });
        const how = ["--text", HELDOUT, "--windows", "1", "--binding", device.binding as Binding];
        assert.ok(offBy(await run(TINY, ...how), await goldenWindows(null), 1) < 5e-4);
        assert.ok(offBy(await run(at("q"), ...how), await goldenWindows("nf3-asym"), 1) < 1e-3);
      }),
  );
}

const STORIES = fileURLToPath(new URL("../../shared/models/stories260K", import.meta.url));
const TINYSTORIES = fileURLToPath(
  new URL("../../shared/text/tinystories_val_1000.txt", import.meta.url),
);
const missing = [STORIES, TINYSTORIES].find((path) => !existsSync(path));

testUnless(
  noPackage ?? (missing ? `no ${missing}` : null),
  "perplexity of stories260K over 64 windows is golden to 0.05 %",
  async () => {
    const how = ["--context", "256", "--windows", "64", "--binding", "cpu"];
    const { perplexity } = await run(STORIES, "--text", TINYSTORIES, ...how);
    assert.ok(Math.abs(perplexity / 4.1898 - 1) < 5e-4, `${perplexity}`);
  },
);

/** The talking model, a text and questions. */
async function makeAll(at: At): Promise<void> {
  await writeTalkingModel(at("m"));
  await writeFile(at("text"), "abcde".repeat(20));
  const question = { question: "ab", choices: ["c", "dd", "e"], answer: 1 };
  await writeFile(at("q.jsonl"), `${JSON.stringify(question)}\n`.repeat(3));
}

testUnless(
  noPackage,
  "questions give accuracy with its error, a row a subject",
  () =>
    inFolder(async (at) => {
      await makeAll(at);
      const line = (subject: string) =>
        JSON.stringify({ subject, question: "-", choices: ["-c", "-d"], answer: 0 });
      await writeFile(at("s.jsonl"), [line("x"), line("x"), line("y")].join("\n"));
      // The made tokenizer has no blank, which parts question and choice
      const vocab = { a: 0, b: 1, c: 2, d: 3, e: 4, " ": 5, "-": 6 };
      const { document } = await import("./made_tokenizers.ts");
      const model = { type: "BPE", unk_token: null, vocab, merges: [] };
      await writeFile(at("m", "tokenizer.json"), JSON.stringify(document({ model })));
      const all = options(at("m"), "--choices", at("s.jsonl"), "--binding", "cpu");
      const { json, rows } = await evalCommand(all, context);
      const { accuracy, items, subjects } = json as Record<string, unknown>;
      assert.ok(accuracy === 0 || accuracy === 1);
      assert.deepEqual([items, (subjects as unknown[]).length], [3, 2]);
      assert.deepEqual(rows.map((row) => [row.subject, row.items]), [["x", 2], ["y", 1]]);
      assert.deepEqual(Object.keys(json as object), [
        "accuracy",
        "standardError",
        "items",
        "subjects",
        "seconds",
        "device",
      ]);
    }),
);

testUnless(
  noPackage,
  "windows count by their progress, and Ctrl-C ends between them",
  () =>
    inFolder(async (at) => {
      await makeAll(at);
      const controller = new AbortController();
      const seen: string[] = [];
      const all = options(at("m"), "--text", at("text"), "--context", "8", "--binding", "cpu");
      const ended = evalCommand(all, {
        ...context,
        signal: controller.signal,
        onProgress(done, total, _what, unit) {
          if (unit !== "windows") return;
          seen.push(`${done} of ${total}`);
          if (done === 3) controller.abort();
        },
      });
      await assert.rejects(ended, { name: "AbortError" });
      assert.deepEqual(seen, ["1 of 10", "2 of 10", "3 of 10"]);
    }),
);

test("a text or questions, not both and not neither, or it is wrong usage", () => {
  assert.throws(() => options("m"), UsageError);
  assert.throws(() => options("m", "--choices", "q", "--windows", "2"), {
    message: /--windows as it is for --text/,
  });
  assert.throws(() => options("m", "--choices", "q", "--wikitext"), UsageError);
  assert.equal(options("m", "--choices", "q").text, null);
  assert.throws(() => options("m", "--text", "t", "--choices", "c"), /got both/);
  assert.throws(() => options("m", "--text", "t", "--bos", "all"), /--bos must be one of/);
  assert.throws(() => options("m", "--text", "t", "--context", "1"), /at least 2/);
});

const refusals: Record<string, [args: (at: At) => string[], says: RegExp]> = {
  "a text that is not there": [
    (at) => ["--text", at("none")],
    /^Cannot read ".*none" as it must be a text file: got nothing there$/,
  ],
  "a window longer than the model's context": [
    (at) => ["--text", at("text"), "--context", "65"],
    /^Cannot score windows with .* as they must fit its context of 64 tokens: got 65$/,
  ],
  "a text shorter than a window": [
    (at) => ["--text", at("short")],
    /^Cannot score the text as it must fill a window of 64 tokens: got 3$/,
  ],
  "a text that is no UTF-8": [
    (at) => ["--text", at("m", "model.safetensors")],
    /^Cannot read .* as it must be UTF-8: got other bytes$/,
  ],
  "a BOS before each window where there is none": [
    (at) => ["--text", at("text"), "--bos", "window"],
    /must have one: got none$/,
  ],
  "questions that are none": [(at) => ["--choices", at("text")], /^Cannot read .*text" line 1/],
};

for (const [what, [args, says]] of Object.entries(refusals)) {
  testUnless(noPackage, `${what} is refused before a weight is read`, () =>
    inFolder(async (at) => {
      await makeAll(at);
      await writeFile(at("short"), "cde");
      const early = { ...context, onProgress: () => assert.fail("no weight was to be read") };
      const all = options(at("m"), "--binding", "cpu", ...args(at));
      assert.match(await refusal(evalCommand(all, early)), says);
    }));
}
