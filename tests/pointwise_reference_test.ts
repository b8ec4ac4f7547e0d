import { test } from "node:test";
import assert from "node:assert/strict";
import { narrow } from "../lib/float16.ts";
import { embed, rmsNorm, siluMul, tokenLoss, top } from "../lib/pointwise_reference.ts";
import { quantize } from "../lib/quantizer.ts";

test("rmsNorm() divides each token by its root mean square", () => {
  const y = rmsNorm(Float32Array.of(3, 4, 6, 8), Float32Array.of(1, 2), 0);
  const root = Math.sqrt(12.5);
  assert.deepEqual(y, Float32Array.of(3 / root, 8 / root, 3 / root, 8 / root));
});

test("rmsNorm() of zeros is 0, by its epsilon", () => {
  assert.deepEqual(rmsNorm(new Float32Array(2), Float32Array.of(1, 1), 1e-5), new Float32Array(2));
});

test("siluMul() takes gates from the first half of a token and ups from the second", () => {
  const x = Float32Array.of(0, 2, 5, 7, -100, 100, 1, 3);
  const y = siluMul(x, 2);
  assert.equal(y[0], 0);
  assert.ok(Math.abs(y[1] - 2 / (1 + Math.exp(-2)) * 7) < 1e-6);
  assert.ok(Math.abs(y[2]) < 1e-40);
  assert.equal(y[3], 300);
});

test("embed() looks up rows, dense or packed", () => {
  const rows = Float32Array.of(1, -1, 0.5, 0);
  const dense = { name: "e", rows: 2, cols: 2, dtype: "F32" as const, bytes: narrow(rows, "F32") };
  const packed = quantize(rows, { rows: 2, cols: 2, format: "nf4-asym" });
  for (const table of [dense, packed]) {
    assert.deepEqual(embed(table, [1, 0, 1]), Float32Array.of(0.5, 0, 1, -1, 0.5, 0));
  }
});

test("tokenLoss() is -log of the softmax at the target, for any size of logits", () => {
  const logits = Float32Array.of(0, 0, 0, 0, 1000, 0, -1000, 0);
  const loss = tokenLoss(logits, [2, 1]);
  assert.ok(Math.abs(loss[0] - Math.log(4)) < 1e-7);
  assert.equal(loss[1], 1000);
});

test("top() gives the largest first, of equals the lower id", () => {
  assert.deepEqual(top(Float32Array.of(1, 5, 5, -2, 3), 3), Uint32Array.of(1, 2, 4));
});
