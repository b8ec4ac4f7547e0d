import { test } from "node:test";
import assert from "node:assert/strict";
import { storeFactor, storeScales } from "../lib/stored_scales.ts";

test("scales that are normal f16 are rounded and no more", () => {
  const scales = Float64Array.of(1 + 2 ** -12, 0, 65504, 2 ** -14);
  assert.deepEqual(storeScales(scales), { scaleExponent: 0, underflows: 0 });
  assert.deepEqual([...scales], [1, 0, 65504, 2 ** -14]);
});

test("a scale out of range moves all, and what underflows is counted", () => {
  const scales = Float64Array.of(2 ** 20, 2 ** -20, 3);
  assert.deepEqual(storeScales(scales), { scaleExponent: -6, underflows: 1 });
  assert.deepEqual([...scales], [2 ** 14, 0, 3 / 64]);
});

test("the factor of a tensor is stored from 1 to 2, or 0", () => {
  for (const [factor, stored, scaleExponent] of [[3, 1.5, -1], [2 ** -30, 1, 30], [0, 0, 0]]) {
    const one = Float64Array.of(factor);
    assert.deepEqual(storeFactor(one), { scaleExponent, underflows: 0 });
    assert.equal(one[0], stored);
  }
});
