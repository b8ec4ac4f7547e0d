import { test } from "node:test";
import assert from "node:assert/strict";
import { bestZero, searchZeroScale, zeroPointError } from "../lib/zero_point.ts";
import { fill, normal } from "./random.ts";

test("by hand: (q - z) s with q in 0 .. 3", () => {
  const x = Float64Array.of(-1, 0, 2.5, 0.6);
  assert.ok(Math.abs(zeroPointError(x, 4, 3, [1, 1]) - (0.5 ** 2 + 0.4 ** 2)) < 1e-12);
  assert.equal(zeroPointError(x, 1, 3, [0, 1]), 1);
});

test("a zero-point that loses nothing is found", () => {
  const x = Float64Array.of(-2, -1, 0, 3);
  assert.deepEqual(bestZero(x, 4, 7, 1), { zero: 2, error: 0 });
});

test("a searched scale loses less than the one that holds all, on average by a twentieth", () => {
  let [plain, searched] = [0, 0];
  for (let seed = 1; seed <= 200; seed++) {
    const x = Float64Array.from(fill(64, normal(seed)));
    const holding = (Math.max(...x) - Math.min(...x)) / 15;
    plain += bestZero(x, 64, 15, holding).error;
    searched += bestZero(x, 64, 15, searchZeroScale(x, 64, 15, holding)).error;
  }
  assert.ok(searched < 0.95 * plain, `${searched / plain}`);
});
