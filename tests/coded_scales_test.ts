import { test } from "node:test";
import assert from "node:assert/strict";
import { bitsPerWeight, type Group } from "../lib/pack.ts";
import { storedBits } from "../lib/pack_scales.ts";
import { nmseOf, quantizationError } from "../lib/quantization_error.ts";
import { dequantize, quantize } from "../lib/quantizer.ts";
import { candidateRecipes, recipeError, recipeShape } from "../lib/recipe.ts";
import { fill, normal, uniform } from "./random.ts";

const rows = 48, cols = 4096;
const gauss = fill(rows * cols, normal(1));
const laplace = fill(rows * cols, laplaceNumbers(2));
const student = fill(rows * cols, studentNumbers(3));

/** Bits a weight and relative square error x 1000. */
function measure(w: Float32Array, format: string, group: Group, scales: string) {
  const q = quantize(w, { rows, cols, format, group, scales, clip: true });
  return { bits: bitsPerWeight(q), error: 1000 * nmseOf(quantizationError(q, w)) };
}

/** Format, group, storage, most bits, and most error on normal weights: what others come to, less some. */
const BUDGETS: [string, Group, string, number, number][] = [
  ["lloyd4g32-asym", 32, "e1m3-row", 4.255, 5.2], // llama.cpp's IQ4_XS has 5.89
  ["lloyd4g16-asym", 16, "e1m3-row", 4.505, 3.8], // its Q4_K 5.08
  ["lloyd3-asym", 32, "e1m3-row", 3.255, 22], // its Q3_K 22.8 at 3.44 bits
  ["lloyd3-asym", 16, "e1m3-row", 3.505, 16.5],
  ["cubic4-asym", 32, "e1m3-row", 4.255, 5.2],
  ["cubic3-asym", 32, "e1m3-row", 3.255, 22],
];

for (const [format, group, scales, bits, most] of BUDGETS) {
  test(`normal weights lose at most ${most} thousandths at ${bits} bits by ${format}`, () => {
    const got = measure(gauss, format, group, scales);
    assert.ok(got.bits <= bits && got.error <= most, JSON.stringify(got));
  });
}

/** Bits, and the best of t that simulations of f16 scales came to: fitted levels, clipped; NF3 clipped. */
const TAILS = [[4.255, 9.34, "lloyd4g128-asym"], [3.255, 45.6, "nf3-asym"]] as const;

for (const [bits, best, plainly] of TAILS) {
  test(`weights with long tails lose a fifth less than with f16 scales at ${bits} bits`, () => {
    for (const w of [laplace, student]) {
      const coded = candidateRecipes(bits)
        .filter((recipe) => storedBits(recipeShape({ rows, cols }, recipe)) <= bits * w.length)
        .map((recipe) => 1000 * recipeError({ rows, cols, w }, recipe));
      const plain = measure(w, plainly, 128, "f16").error;
      assert.ok(Math.min(...coded) < 0.8 * plain, `${coded}, ${plain}`);
      if (w === student) assert.ok(Math.min(...coded) < 0.8 * best, `${coded}, ${best}`);
    }
  });
}

test("without a search a scale is the code nearest to the true one", () => {
  const w = Float32Array.of(3.75, -1.9, 0.5, ...new Float32Array(29), 1.3, -2);
  const options = { rows: 1, cols: 34, format: "nf4-asym", group: 32, scales: "e1m3-row" };
  const q = quantize(w, options); // factor 1: 3.75 is the highest, 1.9 -> 1.875, 1.3 -> 1.25, 2
  assert.deepEqual([...q.scales], [0x00, 0x3c, 15 | 7 << 4, 2 | 8 << 4]);
  assert.equal(dequantize(q)[0], 3.75);
});

test("tensors quantised under one factor can share it", () => {
  const options = { rows, cols, format: "nf4-asym", group: 32, scales: "e1m3-tensor", clip: true };
  const one = quantize(gauss, options);
  const other = quantize(laplace, { ...options, factor: one.factor! * 2 ** -one.scaleExponent });
  assert.deepEqual(
    [other.factor, other.scaleExponent],
    [one.factor, one.scaleExponent],
  );
});

test("weights of any magnitude go up and down with their power of two", () => {
  for (const scales of ["e1m3-row", "e4m4-tensor", "e8m0-tensor"]) {
    const shape = { rows: 4, cols: 256, format: "fp4-asym", group: 32, scales };
    const w = fill(1024, normal(4)), back = dequantize(quantize(w, shape));
    for (const power of [2 ** -60, 2 ** 60]) {
      const moved = dequantize(quantize(w.map((weight) => weight * power), shape));
      assert.deepEqual(moved, back.map((weight) => weight * power), scales);
    }
  }
});

function laplaceNumbers(seed: number): () => number {
  const next = uniform(seed);
  return () => Math.log((1 - next()) / (1 - next()));
}

/** Student's t with 5 degrees of freedom. */
function studentNumbers(seed: number): () => number {
  const next = normal(seed);
  return () => {
    const squares = [1, 2, 3, 4, 5].reduce((sum) => sum + next() ** 2, 0);
    return next() / Math.sqrt(squares / 5);
  };
}
