/** Claims about lib/quantization_error.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { dequantize, quantize } from "../lib/quantizer.ts";
import { nmseOf, quantizationError, rowTiles, sumErrors } from "../lib/quantization_error.ts";
import { values } from "./made_checkpoints.ts";

test("tiles of rows put together are the matrix, short groups and all", () => {
  for (const [rows, cols] of [[5000, 93], [3, 300_000], [1, 1]]) {
    const w = values("w", [rows, cols]);
    const q = quantize(w, { rows, cols, format: "nf3-sym", group: 64 });
    const whole = dequantize(q);
    let tiles = 0;
    for (const { firstRow, matrix } of rowTiles(q)) {
      const tile = dequantize(matrix);
      assert.deepEqual(tile, whole.subarray(firstRow * cols, firstRow * cols + tile.length));
      tiles++;
    }
    assert.ok(tiles === 1 || rows > 1);
  }
});

test("errors are those of a plain loop over the matrix", () => {
  const [rows, cols] = [700, 500];
  const w = values("w", [rows, cols]);
  const q = quantize(w, { rows, cols, format: "int3-asym", group: 32 });
  const wanted = { squaredError: 0, squaredWeights: 0, largestError: 0 };
  dequantize(q).forEach((value, i) => {
    wanted.squaredError += (value - w[i]) ** 2;
    wanted.squaredWeights += w[i] ** 2;
    wanted.largestError = Math.max(wanted.largestError, Math.abs(value - w[i]));
  });
  assert.deepEqual(quantizationError(q, w), wanted);
  assert.ok(nmseOf(wanted) > 0.01 && nmseOf(wanted) < 0.1);
});

test("nothing lost is 0, of nothing too", () => {
  const zeros = new Float32Array(32);
  const q = quantize(zeros, { rows: 2, cols: 16, format: "nf4-asym", group: 16 });
  assert.equal(nmseOf(quantizationError(q, zeros)), 0);
});

test("errors of matrices add up to that of both", () => {
  const a = { squaredError: 1, squaredWeights: 10, largestError: 0.5 };
  const b = { squaredError: 2, squaredWeights: 20, largestError: 0.25 };
  assert.deepEqual(sumErrors([a, b]), { squaredError: 3, squaredWeights: 30, largestError: 0.5 });
  assert.equal(nmseOf(sumErrors([])), 0);
});
