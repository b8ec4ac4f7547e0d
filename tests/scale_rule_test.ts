import { test } from "node:test";
import assert from "node:assert/strict";
import { bitsPerWeight } from "../lib/pack.ts";
import { nmseOf, quantizationError } from "../lib/quantization_error.ts";
import { dequantize, quantize } from "../lib/quantizer.ts";
import { ruledFactor, ruledScale } from "../lib/scale_rule.ts";
import { fill, normal } from "./random.ts";

const E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6];

/** E4M3 from its definition: subnormals, and no infinity. */
const E4M3 = Array.from({ length: 127 }, (_, code) => {
  const [exponent, mantissa] = [code >> 3, code & 7];
  return exponent === 0 ? mantissa / 8 * 2 ** -6 : (1 + mantissa / 8) * 2 ** (exponent - 7);
});

/** The nearest of ascending numbers, the even place of two; beyond the last the last. */
function nearestEven(numbers: number[], wanted: number): number {
  const places = [...numbers.keys()];
  return numbers[
    places.reduce((best, place) => {
      const [a, b] = [best, place].map((at) => Math.abs(numbers[at] - wanted));
      return b < a || (b === a && place % 2 === 0) ? place : best;
    })
  ];
}

/** What a block becomes under a scale. */
function rounded(block: Float32Array, scale: number): number[] {
  return [...block].map((weight) => {
    return Math.sign(weight) * nearestEven(E2M1, Math.abs(weight) / scale) * scale;
  });
}

/** Sum of squared differences. */
function lost(w: Float32Array, back: ArrayLike<number>): number {
  return w.reduce((sum, weight, i) => sum + (weight - back[i]) ** 2, 0);
}

const [rows, cols] = [64, 512];
const w = fill(rows * cols, normal(5)).map((weight) => 0.02 * weight);
const largestOf = (block: Float32Array) =>
  block.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
const blocksOf = (width: number) =>
  Array.from({ length: w.length / width }, (_, i) => w.subarray(i * width, (i + 1) * width));

test("mx gives what a plain MXFP4 gives, weight by weight but for ties", () => {
  const q = quantize(w, { rows, cols, format: "fp4-sym", group: 32, scales: "mx" });
  const wanted = blocksOf(32).flatMap((block) => {
    return rounded(block, 2 ** (Math.floor(Math.log2(largestOf(block))) - 2));
  });
  const back = dequantize(q);
  const other = wanted.filter((value, i) => Math.abs(value - back[i]) > 1e-9).length;
  assert.ok(other < 5, `${other} weights differ`);
  assert.ok(Math.abs(lost(w, back) / lost(w, wanted) - 1) < 1e-6);
  assert.equal(q.factor! * 2 ** q.scaleExponent, 1);
});

test("nv gives what a plain NVFP4 gives, but for the rounding of its factor", () => {
  const q = quantize(w, { rows, cols, format: "fp4-sym", group: 16, scales: "nv" });
  const unit = largestOf(w) / (6 * 448);
  const wanted = blocksOf(16).flatMap((block) => {
    return rounded(block, unit * nearestEven(E4M3, largestOf(block) / 6 / unit));
  });
  const back = dequantize(q);
  assert.ok(Math.abs(lost(w, back) / lost(w, wanted) - 1) < 0.002);
  const other = wanted.filter((value, i) => Math.abs(value - back[i]) > 2 ** -11 * Math.abs(value));
  assert.ok(other.length < w.length / 1000, `${other.length} weights differ`);
});

test("normal weights lose 13 thousandths by MXFP4, as by llama.cpp's, and 9 by NVFP4", () => {
  for (
    const [scales, group, bits, thousandths] of [["mx", 32, 4.25, 13], ["nv", 16, 4.5, 9]] as const
  ) {
    const q = quantize(w, { rows, cols, format: "fp4-sym", group, scales, clip: true });
    assert.ok(Math.abs(bitsPerWeight(q) - bits - 16 / w.length) < 1e-9);
    const error = 1000 * nmseOf(quantizationError(q, w));
    assert.ok(Math.abs(error / thousandths - 1) < 0.05, `${scales}: ${error}`);
  }
});

test("scales by rule: powers of two from below, and E4M3 with halves to even", () => {
  const mx = (amax: number) => ruledScale("mx", amax / 6, { factor: 1, reach: 6 });
  assert.deepEqual([4, 5.99, 7.99, 8, 0.49].map(mx), [1, 1, 1, 2, 0.0625]);
  for (let power = -60; power <= 60; power++) assert.equal(mx(2 ** power), 2 ** (power - 2));
  const nv = (scale: number) => ruledScale("nv", scale, { factor: 1, reach: 6 });
  assert.deepEqual([1, 1.0625, 1.1875, 500, 2 ** -7 * 1.05, 0].map(nv), [
    1,
    1,
    1.25,
    448,
    2 ** -7,
    0,
  ]);
  for (const value of E4M3.slice(1)) assert.equal(nv(value), value);
  assert.deepEqual([ruledFactor("mx", 9), ruledFactor("nv", 896)], [1, 2]);
});
