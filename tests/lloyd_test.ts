import { test } from "node:test";
import assert from "node:assert/strict";
import { codebookBits, type Format, format } from "../lib/format.ts";
import { fitLevels } from "../lib/lloyd.ts";
import { dequantize, quantize } from "../lib/quantizer.ts";
import { type Recipe, recipeError } from "../lib/recipe.ts";
import { scaleFormat } from "../lib/scale_format.ts";
import { fill, normal } from "./random.ts";

/** Normal weights, and such whose size is cubed: many near 0, few far off. */
const sample = (power: number, seed: number) => {
  const next = normal(seed);
  return { rows: 32, cols: 1024, w: fill(32 * 1024, () => next() ** power) };
};
const [even, cubed] = [sample(1, 1), sample(3, 2)];

function recipe(name: string, group: number): Recipe {
  return { format: format(name), group, scales: scaleFormat("e1m3-row"), clip: true };
}

/** Books, the group they are for, and how far another round on other weights may move a level. */
const BOOKS: [string, number][] = [
  ["lloyd4g16-asym", 16],
  ["lloyd4g32-asym", 32],
  ["lloyd4g64-asym", 64],
  ["lloyd4g128-asym", 128],
  ["lloyd3-asym", 32],
];

for (const [name, group] of BOOKS) {
  test(`${name} is where fitting ends on normal weights of groups of ${group}`, () => {
    // 32 thousand weights place a level that a thousandth of the error hangs on to about 0.02
    const fitted = fitLevels(even, recipe(name, group)).grid;
    const own = format(name).grid;
    own.forEach((level, i) =>
      assert.ok(Math.abs(level - fitted[i]) < 0.03, `${level}, ${fitted[i]}`)
    );
  });
}

test("levels fitted to other weights lose a tenth less there, and take 16 bits each", () => {
  const plain = recipe("lloyd4g32-asym", 32);
  const fitted = { ...plain, format: fitLevels(cubed, plain) };
  assert.ok(recipeError(cubed, fitted) < 0.9 * recipeError(cubed, plain));
  assert.equal(codebookBits(fitted.format), 16 * 16);
  assert.equal(codebookBits(plain.format), 0);
});

test("one scale stays one, e2m1 becomes a table, integers with a zero-point stay", () => {
  assert.equal(fitLevels(even, recipe("nf3-sym", 32)).scaling, "one");
  assert.equal(fitLevels(even, recipe("fp4-asym", 32)).decode, "table");
  assert.equal(fitLevels(even, recipe("int4-asym", 32)).name, "int4-asym");
});

test("levels fitted where inputs are felt lose less there, and more in all", () => {
  // half of the columns hold weights of another shape, and count a thousand times
  const cols = 64, next = normal(11);
  const w = Float32Array.from({ length: 512 * cols }, (_, i) => i % 2 === 0 ? next() / 3 : next());
  const importance = Float64Array.from({ length: cols }, (_, j) => j % 2 === 0 ? 1000 : 1);
  const rows = { rows: 512, cols, w }, plain = recipe("lloyd4g32-asym", 32);
  const [all, felt] = [fitLevels(rows, plain), fitLevels(rows, plain, importance)];
  const error = (format: Format, only: (j: number) => boolean) => {
    const q = dequantize(quantize(w, { rows: 512, cols, ...plain, format }));
    return q.reduce((sum, v, i) => sum + (only(i % cols) ? (v - w[i]) ** 2 : 0), 0);
  };
  const [ours, theirs] = [felt, all].map((book) => error(book, (j) => j % 2 === 0));
  assert.ok(ours < 0.95 * theirs, `${ours}, ${theirs}`);
  assert.ok(error(felt, () => true) > error(all, () => true));
});
