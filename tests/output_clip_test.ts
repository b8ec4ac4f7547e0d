/** Claims about lib/output_clip.ts; against an implementation written apart in awq_test.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatNames } from "../lib/format.ts";
import { rowEnergies } from "../lib/layer_error.ts";
import { clipByOutput } from "../lib/output_clip.ts";
import { dequantize, groupScales, quantize } from "../lib/quantizer.ts";
import { gramOf } from "./made_moments.ts";
import { fill, normal } from "./random.ts";

const rows = 8, cols = 90, group = 32;
const w = fill(rows * cols, normal(3)), h = gramOf(cols, 400, 4);

function energies(q: ReturnType<typeof quantize>): Float64Array {
  return rowEnergies(dequantize(q).map((value, i) => value - w[i]), h);
}

for (const format of formatNames) {
  for (const scales of ["f16", "e1m3-row"]) {
    test(`every row's output loses less, by a fifth and more in all: ${format}, ${scales}`, () => {
      const q = quantize(w, { rows, cols, group, format, scales, clip: scales !== "f16" });
      const [before, after] = [q, clipByOutput(q, w, h)].map(energies);
      after.forEach((energy, row) => assert.ok(energy <= before[row] * (1 + 1e-6)));
      const sum = (all: Float64Array) => all.reduce((a, b) => a + b, 0);
      const most = scales === "f16" ? 0.8 : 0.95;
      assert.ok(sum(after) < most * sum(before), `${sum(after)}, ${sum(before)}`);
    });
  }

  test(`codes are those nearest by the scales that were found: ${format}`, () => {
    const found = clipByOutput(quantize(w, { rows, cols, group, format }), w, h);
    const values = dequantize(found);
    const two = found.format.scaling === "two", { grid } = found.format;
    for (let i = 0; i < w.length; i++) {
      const at = groupScales(found, Math.floor(i / cols), Math.floor(i % cols / group));
      const scale = two && w[i] < 0 ? at.negative : at.positive;
      const distances = Array.from(grid, (level) => Math.abs((level - at.zero) * scale - w[i]));
      const own = Math.abs(values[i] - w[i]);
      assert.ok(own < Math.min(...distances) + 1e-6, `${values[i]} for ${w[i]}`);
    }
  });
}

test("inputs that are never felt leave everything as it was", () => {
  const q = quantize(w, { rows, cols, group, format: "nf4-asym" });
  assert.deepEqual(clipByOutput(q, w, new Float64Array(cols * cols)), q);
});
