/** Claims about lib/gram_reference.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { gram, largest } from "../lib/gram_reference.ts";
import { momentsOf } from "./made_moments.ts";
import { fill, normal } from "./random.ts";

for (const [tokens, cols] of [[1, 1], [3, 5], [4, 7], [9, 33]]) {
  test(`gram() adds X^T X, both halves, at [${tokens}, ${cols}]`, () => {
    const x = fill(tokens * cols, normal(tokens));
    const h = new Float64Array(cols * cols).fill(1);
    gram(h, x, cols);
    momentsOf(Float64Array.from(x), cols).forEach((value, i) => {
      assert.ok(Math.abs(h[i] - 1 - tokens * value) < 1e-12 * tokens);
      assert.equal(h[i], h[i % cols * cols + Math.floor(i / cols)]);
    });
  });
}

test("largest() keeps the largest size of each column", () => {
  const m = Float64Array.of(2, 0);
  largest(m, Float32Array.of(-1, 3, 1.5, -4));
  assert.deepEqual(m, Float64Array.of(2, 4));
});
