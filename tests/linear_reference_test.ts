import { test } from "node:test";
import assert from "node:assert/strict";
import * as reference from "../lib/linear_reference.ts";
import { quantize } from "../lib/quantizer.ts";
import { narrow } from "../lib/float16.ts";
import { fill, normal } from "./random.ts";

/** W = [[6, -3], [1, 0]] in FP4 with s_pos 1 and s_neg 0.5 in row 0, s_pos 1/6 in row 1. */
const q = quantize(Float32Array.of(6, -3, 1.5, 0), { rows: 2, cols: 2, format: "fp4-asym" });
const x = Float32Array.of(2, 10);

test("matvec() is the sum of level x scale x activation", () => {
  assert.deepEqual(reference.matvec(q, x), Float32Array.of(-18, 3));
  assert.deepEqual(
    reference.matvec(q, x, { bias: Float32Array.of(1, -1) }),
    Float32Array.of(-17, 2),
  );
});

test("matmul() takes tokens by rows and gives [batch, rows]", () => {
  const two = Float32Array.of(2, 10, 1, 0);
  assert.deepEqual(reference.matmul(q, two, 2), Float32Array.of(-18, 3, 6, 1.5));
  assert.deepEqual(reference.matvec(q, two), reference.matmul(q, two, 2));
});

test("dequantise() gives the weights", () => {
  assert.deepEqual(reference.dequantise(q), Float32Array.of(6, -3, 1.5, 0));
});

test("dense products read every dtype", () => {
  const values = Float32Array.of(6, -3, 1.5, 0);
  for (const dtype of ["F32", "F16", "BF16"] as const) {
    const w = { name: "w", rows: 2, cols: 2, dtype, bytes: narrow(values, dtype) };
    assert.deepEqual(reference.denseMatvec(w, x), Float32Array.of(-18, 3));
    assert.deepEqual(reference.denseMatmul(w, x, 1), Float32Array.of(-18, 3));
    assert.deepEqual([...reference.denseBound(w, x, 1)], [42, 3].map((sum) => sum * 2 ** -20));
  }
});

test("bounds are 16 units of the sum of magnitudes, with the larger scale in two-scale matvec", () => {
  assert.deepEqual([...reference.matmulBound(q, x, 1)], [42, 3].map((sum) => sum * 2 ** -20));
  assert.deepEqual([...reference.matvecBound(q, x)], [72, 3].map((sum) => sum * 2 ** -20));
});

test("every output is summed in f64 in the order of its columns, however rows and tokens fall", () => {
  const next = normal(5);
  for (const [rows, cols, batch] of [[1, 1, 1], [2, 3, 4], [3, 33, 5], [5, 32, 7], [4, 7, 9]]) {
    const values = fill(rows * cols, next), x = fill(batch * cols, next), bias = fill(rows, next);
    const w = { name: "w", rows, cols, dtype: "F32" as const, bytes: narrow(values, "F32") };
    const wanted = Float32Array.from({ length: batch * rows }, (_, at) => {
      const token = Math.floor(at / rows), row = at % rows;
      let sum = bias[row];
      for (let c = 0; c < cols; c++) sum += values[row * cols + c] * x[token * cols + c];
      return sum;
    });
    assert.deepEqual(reference.denseMatmul(w, x, batch, { bias }), wanted);
  }
});
