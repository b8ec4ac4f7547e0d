import { test } from "node:test";
import assert from "node:assert/strict";
import { format } from "../lib/format.ts";
import { bitsPerWeight } from "../lib/pack.ts";
import { storedBits } from "../lib/pack_scales.ts";
import { quantize } from "../lib/quantizer.ts";
import { candidateRecipes, recipeError, recipeShape, withFactor } from "../lib/recipe.ts";
import { F16_SCALES, scaleFormat } from "../lib/scale_format.ts";
import { fill, normal } from "./random.ts";

const sample = { rows: 8, cols: 256, w: fill(2048, normal(1)) };

test("a shape costs what the matrix made by the recipe weighs, all metadata counted", () => {
  for (const recipe of [...candidateRecipes(4.25), ...candidateRecipes(3.25)]) {
    const q = quantize(sample.w, { rows: 8, cols: 256, ...recipe });
    assert.equal(storedBits(recipeShape(sample, recipe)) / 2048, bitsPerWeight(q));
  }
});

test("a factor of the tensor is 16 bits, and one that is shared is found in each matrix", () => {
  const plain = { format: format("nf4-asym"), group: 32, clip: true } as const;
  const tensor = { ...plain, scales: scaleFormat("e1m3-tensor") };
  assert.equal(storedBits(recipeShape(sample, tensor)), 2048 * 4.25 + 16);
  const shared = withFactor(sample, tensor);
  const half = quantize(sample.w.subarray(1024), { rows: 4, cols: 256, ...shared });
  assert.equal(half.factor! * 2 ** -half.scaleExponent, shared.factor);
  assert.equal(withFactor(sample, { ...plain, scales: F16_SCALES }).factor, undefined);
});

test("candidates lie near their budget, and one of them loses less than NF4 of the same bits", () => {
  const nf4 = { format: format("nf4-asym"), group: 128, scales: F16_SCALES, clip: true } as const;
  const errors = candidateRecipes(4.25)
    .filter((recipe) => storedBits(recipeShape(sample, recipe)) <= 2048 * 4.26)
    .map((recipe) => recipeError(sample, recipe));
  assert.ok(Math.min(...errors) < 0.8 * recipeError(sample, nf4));
});

test("a budget beyond what any recipe takes, or short of it, has candidates all the same", () => {
  for (const bits of [0.5, 16]) assert.ok(candidateRecipes(bits).length > 0, `${bits}`);
  assert.ok(candidateRecipes(16).every(({ format }) => format.bits === 4));
});
