/** Claims about lib/command_compare.ts. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { commands } from "../lib/command.ts";
import { compareCommand, readCompareOptions } from "../lib/command_compare.ts";
import { parseArgs } from "../lib/parse_args.ts";
import { quantizeCheckpoint } from "../lib/quantize_checkpoint.ts";
import { goldenWindows, HELDOUT, TINY } from "./golden_windows.ts";
import { context, inFolder, refusal } from "./made_checkpoints.ts";
import { document, noPackage } from "./made_tokenizers.ts";
import { writeTalkingModel } from "./talking_model.ts";
import { testUnless } from "./test_unless.ts";

interface Document {
  a: { path: string; nll: number };
  b: { path: string; nll: number };
  kl: { mean: number; standardError: number };
  top1: { mean: number; standardError: number };
  tokens: number;
}

/** Runs the command as the command line does. */
async function run(...args: string[]) {
  const { string, boolean } = commands.compare;
  const options = readCompareOptions(parseArgs(args, { string: ["_", ...string], boolean }));
  const done = await compareCommand(options, context);
  return { ...done, json: done.json as Document };
}

testUnless(
  noPackage,
  "a model and its 3-bit copy: golden losses, KL and agreement with errors",
  () =>
    inFolder(async (at) => {
      await quantizeCheckpoint(TINY, at("q"), { format: "nf3-asym" });
      const how = ["--text", HELDOUT, "--windows", "2", "--binding", "cpu"];
      const { json, rows, lines } = await run(TINY, at("q"), ...how);
      assert.deepEqual(Object.keys(json), ["a", "b", "kl", "top1", "tokens"]);
      for (const [side, format] of [[json.a, null], [json.b, "nf3-asym"]] as const) {
        const [first, second] = await goldenWindows(format);
        assert.ok(Math.abs(side.nll - (first + second) / 2) < 1e-3);
      }
      assert.ok(json.kl.mean > 0.02 && json.kl.mean < 0.2 && json.kl.standardError > 0);
      assert.ok(json.top1.mean > 0.7 && json.top1.mean < 1 && json.top1.standardError > 0);
      assert.equal(json.tokens, 510);
      assert.deepEqual(rows.map(({ model }) => model), ["A", "B"]);
      assert.match(lines.join("\n"), /KL divergence of B from A 0\.\d+ ± 0\.\d+ nats a token/);
    }),
);

testUnless(
  noPackage,
  "a model is itself: no divergence, full agreement",
  () =>
    inFolder(async (at) => {
      await writeTalkingModel(at("m"));
      await writeFile(at("text"), "abcde".repeat(20));
      const how = ["--text", at("text"), "--context", "10", "--binding", "cpu"];
      const { json } = await run(at("m"), at("m"), ...how);
      assert.deepEqual([json.kl.mean, json.top1.mean, json.tokens], [0, 1, 72]);
      assert.deepEqual(json.a, json.b);
    }),
);

testUnless(noPackage, "models of other tokens are refused", () =>
  inFolder(async (at) => {
    await writeTalkingModel(at("a"));
    const vocab = { b: 0, a: 1, c: 2, d: 3, e: 4, ab: 5, "-": 6 };
    const model = { ...document().model as object, vocab };
    await writeTalkingModel(at("b"), { tokenizer: document({ model }) });
    const says = /^Cannot compare .* with .* as they must have the same tokens: got /;
    assert.match(await refusal(run(at("a"), at("b"), "--text", HELDOUT)), says);
    assert.match(await refusal(run(at("a"), TINY, "--text", HELDOUT)), /got 8 and 2048$/);
  }));
