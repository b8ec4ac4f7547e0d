/** Claims about lib/double_quantization.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { doubleQuantized } from "../lib/double_quantization.ts";
import { f16Value } from "../lib/float16.ts";
import { dequantize, quantize } from "../lib/quantizer.ts";
import { nmseOf, quantizationError } from "../lib/quantization_error.ts";
import { bitsPerWeight as bitsOf } from "../lib/pack.ts";
import { fill, normal } from "./random.ts";

const [rows, cols] = [64, 512];
const w = fill(rows * cols, normal(1));

for (const format of ["nf4-asym", "nf4-sym", "int4-asym", "fp3-asym"]) {
  test(`scales of 8 bits cost hardly any error: ${format}`, () => {
    const q = quantize(w, { rows, cols, format, group: 64 });
    const { matrix, bitsPerWeight } = doubleQuantized(q);
    const [before, after] = [q, matrix].map((m) => nmseOf(quantizationError(m, w)));
    assert.ok(after < 1.01 * before, `${after}, ${before}`);
    assert.notDeepEqual(dequantize(matrix), dequantize(q));
    assert.deepEqual(matrix.codes, q.codes);
    const [bits, scales] = [format[2] === "3" ? 3 : 4, format.endsWith("-sym") ? 1 : 2];
    const wanted = bits + (scales * 8 + scales * 64 / 256) / 64;
    assert.equal(bitsPerWeight, wanted);
  });
}

test("a run has at most 255 different scales, near what they were", () => {
  const q = quantize(w, { rows, cols, format: "nf4-asym", group: 64 });
  const { matrix } = doubleQuantized(q);
  const run = q.scales.subarray(0, 256), made = matrix.scales.subarray(0, 256);
  const spread = Math.max(...[...run].map(f16Value)) - Math.min(...[...run].map(f16Value));
  run.forEach((bits, i) => {
    assert.ok(Math.abs(f16Value(made[i]) - f16Value(bits)) < spread / 127);
  });
});

test("a side without weights keeps its scale of 0, zero-points stay", () => {
  const positive = w.map(Math.abs);
  const two = doubleQuantized(quantize(positive, { rows, cols, format: "nf4-asym", group: 64 }));
  assert.ok(two.matrix.scales.every((bits, i) => i % 2 === 0 ? bits > 0 : bits === 0));
  const q = quantize(w, { rows, cols, format: "int4-asym", group: 64 });
  const { matrix } = doubleQuantized(q);
  assert.ok(matrix.scales.every((bits, i) => i % 2 === 0 || bits === q.scales[i]));
});

test("scales that are codes already stay, and are counted as they are", () => {
  const q = quantize(w, { rows, cols, format: "nf4-asym", group: 32, scales: "e1m3-row" });
  const { matrix, bitsPerWeight } = doubleQuantized(q);
  assert.equal(matrix, q);
  assert.equal(bitsPerWeight, bitsOf(q));
});
