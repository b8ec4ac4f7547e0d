/** Claims about lib/statistics.ts, by hand. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  estimate,
  estimateDifference,
  meanOf,
  pairedRatio,
  perplexityOf,
  quantile,
} from "../lib/statistics.ts";
import { fill, normal } from "./random.ts";

test("estimate() of 1, 2, 3, 4 is 2.5 +- sqrt(5 / 12)", () => {
  assert.deepEqual(estimate([1, 2, 3, 4]), { mean: 2.5, standardError: Math.sqrt(5 / 12) });
});

test("the standard error of right and wrong is sqrt(p (1 - p) / (n - 1))", () => {
  const { mean, standardError } = estimate([1, 0, 0, 1, 0]);
  assert.equal(mean, 0.4);
  assert.ok(Math.abs(standardError! - Math.sqrt(0.4 * 0.6 / 4)) < 1e-15);
});

test("one value has no standard error, and none has no mean", () => {
  assert.deepEqual(estimate([7]), { mean: 7, standardError: null });
  assert.throws(() => estimate([]), /must be of one value or more: got none$/);
});

test("what is common to both drops out of a difference", () => {
  const { mean, standardError } = estimateDifference([1, 5, 9], [1.5, 5.5, 9.5]);
  assert.deepEqual([mean, standardError], [0.5, 0]);
  assert.throws(() => estimateDifference([1], [1, 2]), /as many of each: got 1 and 2$/);
});

test("perplexity is exp of the mean, and its error that times the mean's", () => {
  const { mean, standardError } = perplexityOf({ mean: Math.log(20), standardError: 0.1 });
  assert.ok(Math.abs(mean - 20) < 1e-12);
  assert.ok(Math.abs(standardError! - 2) < 1e-12);
  assert.equal(perplexityOf({ mean: 0, standardError: null }).standardError, null);
});

test("meanOf() keeps what plain summing drops", () => {
  assert.equal(meanOf([1, 1e100, 1, -1e100]), 0.5);
});

test("quantile() goes between neighbours and does not mind the order", () => {
  assert.deepEqual([0, 0.2, 0.5, 0.75, 1].map((q) => quantile([4, 1, 3, 2], q)), [
    1,
    1.6,
    2.5,
    3.25,
    4,
  ]);
  assert.equal(quantile([7], 0.9), 7);
  assert.throws(() => quantile([], 0.5), /got 0.5 of 0$/);
  assert.throws(() => quantile([1], 1.5), /got 1.5 of 1$/);
});

test("pairedRatio() of rounds that slow down alike is exact, whatever the rounds", () => {
  const times = [1, 5, 2, 8, 3];
  assert.deepEqual(pairedRatio(times.map((t) => 3 * t), times), { median: 3, low: 3, high: 3 });
  assert.throws(() => pairedRatio([1], [1, 2]), /as many of each: got 1 and 2$/);
  assert.throws(() => pairedRatio([], []), /got 0 and 0$/);
});

test("the bounds of pairedRatio() hold the truth about 95 times of 100", () => {
  const next = normal(5);
  let held = 0;
  for (let run = 0; run < 200; run++) {
    const a = fill(25, () => 2 * Math.exp(0.1 * next()));
    const { low, high } = pairedRatio(a, new Float32Array(25).fill(1), { draws: 300 });
    if (low <= 2 && 2 <= high) held++;
  }
  assert.ok(held > 180 && held < 200, `${held} of 200`);
});
