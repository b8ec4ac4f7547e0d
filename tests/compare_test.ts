/** Claims about lib/compare.ts, by hand. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compareModels, compareWindow } from "../lib/compare.ts";

/** Logits [n, 2] that give the first token these probabilities. */
const logits = (...p: number[]) =>
  Float32Array.from(p.flatMap((q) => [Math.log(q), Math.log(1 - q)]));

const near = (got: number | null, expected: number) =>
  assert.ok(Math.abs(got! - expected) <= 1e-6, `${got}, not ${expected}`);

const kl = (p: number, q: number) => p * Math.log(p / q) + (1 - p) * Math.log((1 - p) / (1 - q));

test("KL and agreement are means over the positions that predict", () => {
  const [a, b] = [logits(0.8, 0.6, 0.5), logits(0.5, 0.3, 0.1)];
  const found = compareWindow([0, 0, 1], a, b);
  near(found.kl, (kl(0.8, 0.5) + kl(0.6, 0.3)) / 2); // the last position predicts nothing
  near(found.nllA, (-Math.log(0.8) - Math.log(0.4)) / 2);
  near(found.nllB, (-Math.log(0.5) - Math.log(0.7)) / 2);
  near(found.top1, 0.5); // 0.5 and 0.5: the first counts
});

test("a model is no distance from itself, at any scale of logits", () => {
  const a = Float32Array.of(1000, 900, -1000, 0, 0, 0);
  assert.deepEqual(compareWindow([0, 1], a, a).kl, 0);
  assert.equal(compareWindow([0, 1], a, a).top1, 1);
});

const source = (...rows: Float32Array[]) => {
  let next = 0;
  return { allLogits: () => Promise.resolve(rows[next++]) };
};

const windows = {
  windows: [Uint32Array.of(0, 0), Uint32Array.of(0, 1)],
  context: 2,
  textTokens: 4,
};

test("windows are averaged, with errors over windows and paired differences", async () => {
  const a = source(logits(0.5, 0.5), logits(0.5, 0.5));
  const b = source(logits(0.25, 0.5), logits(0.75, 0.5));
  const found = await compareModels(a, b, windows);
  near(found.a.nll, Math.LN2);
  near(found.a.perplexity, 2);
  near(found.b.nll, Math.log(4));
  near(found.b.perplexity, 4);
  near(found.nllDifference.mean, Math.LN2);
  near(found.nllDifference.standardError, 0);
  near(found.kl.mean, kl(0.5, 0.25));
  near(found.kl.standardError, 0);
  near(found.top1.mean, 0.5);
  near(found.top1.standardError, 0.5);
  assert.deepEqual([found.tokens, found.windows, found.context], [2, 2, 2]);
});

test("models of two vocabularies, and logits that are no numbers, are refused", async () => {
  const [two, three] = [source(logits(0.5, 0.5)), source(new Float32Array(6))];
  await assert.rejects(compareModels(two, three, windows), {
    name: "RangeError",
    message: "Cannot compare the models as they must have one vocabulary: got 2 and 3 tokens",
  });
  const [sound, broken] = [source(logits(0.5, 0.5)), source(Float32Array.of(NaN, 0, 0, 0))];
  await assert.rejects(compareModels(sound, broken, windows), {
    name: "RangeError",
    message: "Cannot compare window 1 as its logits must be numbers: got others",
  });
});
