/** Claims about lib/layer_error.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { layerError, relativeError, rowEnergies } from "../lib/layer_error.ts";
import { madeInputs, momentsOf } from "./made_moments.ts";
import { fill, normal } from "./random.ts";

for (const [rows, cols] of [[1, 1], [3, 5], [4, 8], [9, 33]]) {
  test(`moments give the error of the outputs themselves, token by token, at [${rows}, ${cols}]`, () => {
    const tokens = 50, x = madeInputs(cols, tokens, 1), h = momentsOf(x, cols);
    const w = fill(rows * cols, normal(2)), other = fill(rows * cols, normal(3));
    const energy = (of: (i: number) => number) => {
      let sum = 0;
      for (let token = 0; token < tokens; token++) {
        for (let row = 0; row < rows; row++) {
          let y = 0;
          for (let j = 0; j < cols; j++) y += of(row * cols + j) * x[token * cols + j];
          sum += y * y / tokens;
        }
      }
      return sum;
    };
    const error = layerError(other, w, h);
    const near = (a: number, b: number) => assert.ok(Math.abs(a - b) < 1e-6 * b, `${a}, ${b}`);
    near(error.squaredError, energy((i) => other[i] - w[i])); // D is rounded to f32
    near(error.squaredOutput, energy((i) => w[i]));
    near(relativeError(error), error.squaredError / error.squaredOutput);
    near(rowEnergies(w, h).reduce((a, b) => a + b), error.squaredOutput);
  });
}

test("where nothing is lost the share is 0, also of nothing", () => {
  assert.equal(relativeError({ squaredError: 0, squaredOutput: 0 }), 0);
});
