import { test } from "node:test";
import assert from "node:assert/strict";
import type { Group } from "../lib/pack.ts";
import { nmseOf, quantizationError } from "../lib/quantization_error.ts";
import { quantize } from "../lib/quantizer.ts";
import { fill, normal } from "./random.ts";

const rows = 64, cols = 1024;
const w = fill(rows * cols, normal(1));

/** Relative square error x 1000 of W in a format. */
function error(format: string, group: Group, clip: boolean): number {
  return 1000 * nmseOf(quantizationError(quantize(w, { rows, cols, format, group, clip }), w));
}

/** Most of the plain error that a search may leave on normal weights: measured, and a hundredth. */
const MOST: [string, Group, number][] = [
  ["nf4-asym", 128, 0.87],
  ["nf4-sym", 64, 0.88],
  ["nf3-asym", 128, 0.8],
  ["nf3-asym", 32, 0.83],
  ["fp4-asym", 128, 0.9],
  ["fp3-asym", 64, 0.9],
  ["int4-asym", 128, 0.92],
  ["int3-asym", 128, 0.8],
  ["int4-sym", 64, 0.87],
];

for (const [format, group, most] of MOST) {
  test(`clipping leaves at most ${most} of the error of ${format}, group ${group}`, () => {
    const ratio = error(format, group, true) / error(format, group, false);
    assert.ok(ratio <= most, `${ratio}`);
  });
}

test("clipping takes no bit, and loses nothing where nothing was lost", () => {
  const exact = Float32Array.from({ length: 64 }, (_, i) => i % 2 ? 6 : -3);
  const options = { rows: 1, cols: 64, format: "fp4-asym", group: 32 };
  const plain = quantize(exact, options), clipped = quantize(exact, { ...options, clip: true });
  assert.deepEqual(clipped, plain);
});

test("weights of a group that is zero stay zero", () => {
  for (const format of ["nf4-asym", "lloyd3-asym", "int4-asym", "fp4-sym"]) {
    const zero = quantize(new Float32Array(64), {
      rows: 2,
      cols: 32,
      format,
      group: 32,
      clip: true,
    });
    assert.equal(quantizationError(zero, new Float32Array(64)).largestError, 0, format);
  }
});
