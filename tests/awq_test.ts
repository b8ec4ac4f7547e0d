/** Claims about lib/awq.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { awqScales, magnitudesOf, rootPower } from "../lib/awq.ts";
import { formatNames } from "../lib/format.ts";
import { madeInputs, momentsOf } from "./made_moments.ts";
import { fill, normal } from "./random.ts";
import { dequantize, quantize } from "../lib/quantizer.ts";

const rows = 8, cols = 64, tokens = 200;
const x = madeInputs(cols, tokens, 3), h = momentsOf(x, cols);

/** Error of the outputs themselves, token by token, with powers by Math.pow. */
function errorAt(w: Float32Array, format: string, ratio: number): number {
  const sizes = Float64Array.from({ length: cols }, (_, j) => {
    let squares = 0;
    for (let t = 0; t < tokens; t++) squares += x[t * cols + j] ** 2;
    return Math.max(Math.sqrt(squares / tokens), 1e-4) ** ratio;
  });
  const middle = Math.sqrt(Math.max(...sizes) * Math.min(...sizes));
  const s = sizes.map((size) => size / middle);
  const scaled = w.map((value, i) => value * s[i % cols]);
  const q = dequantize(quantize(scaled, { rows, cols, format, group: 32 }));
  let sum = 0;
  for (let t = 0; t < tokens; t++) {
    for (let row = 0; row < rows; row++) {
      let y = 0;
      for (let j = 0; j < cols; j++) {
        y += (q[row * cols + j] / s[j] - w[row * cols + j]) * x[t * cols + j];
      }
      sum += y * y;
    }
  }
  return sum;
}

for (const format of formatNames) {
  test(`the search written apart, over tokens, finds the same ratio: ${format}`, () => {
    const w = fill(rows * cols, normal(5));
    const { ratio, left } = awqScales([w], h, { cols, format, group: 32 });
    const errors = Array.from({ length: 20 }, (_, i) => errorAt(w, format, i / 20));
    // ratios are rounded to 1/1024, so two of nearly equal error may change places
    const theirs = Math.min(...errors) / errors[0];
    assert.ok(Math.abs(left - theirs) < 0.03, `${left} at ${ratio}, ${theirs}`);
    assert.ok(left < 1);
  });
}

test("matrices that share inputs share the scales that serve both", () => {
  const [a, b] = [fill(rows * cols, normal(6)), fill(rows * cols, normal(7))];
  const options = { cols, format: "nf3-asym", group: 32 as const };
  const { left } = awqScales([a, b], h, options);
  const alone = [a, b].map((w) => awqScales([w], h, options).left);
  assert.ok(left >= Math.min(...alone) && left <= 1);
});

test("inputs of equal size are left as they are", () => {
  const w = fill(rows * cols, normal(8));
  const flat = new Float64Array(cols * cols);
  for (let j = 0; j < cols; j++) flat[j * cols + j] = 4;
  const { scales, left } = awqScales([w], flat, { cols, format: "nf4-asym" });
  assert.equal(left, 1);
  assert.ok(scales.every((scale) => scale === 1));
  assert.deepEqual(magnitudesOf(flat, 2).slice(0, 1), Float64Array.of(2));
});

test("roots to a power of k / 1024 are those of Math.pow", () => {
  for (const x of [1e-4, 0.3, 1, 7, 1e5]) {
    for (const k of [0, 1, 51, 512, 973, 1023]) {
      assert.ok(Math.abs(rootPower(x, k) / x ** (k / 1024) - 1) < 1e-13);
    }
  }
});
