/** Claims about lib/refinement.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatNames } from "../lib/format.ts";
import { gptq } from "../lib/gptq.ts";
import { rowEnergies } from "../lib/layer_error.ts";
import type { QuantizedMatrix } from "../lib/pack.ts";
import { dequantize, quantize } from "../lib/quantizer.ts";
import { refine } from "../lib/refinement.ts";
import { scaleFormat } from "../lib/scale_format.ts";
import { diagonalOf, gramOf } from "./made_moments.ts";
import { fill, normal, uniform } from "./random.ts";

const rows = 6, cols = 90, group = 32;
const w = fill(rows * cols, normal(3)), h = gramOf(cols, 400, 4);
const sum = (all: Float64Array) => all.reduce((a, b) => a + b, 0);
const energies = (q: QuantizedMatrix) =>
  rowEnergies(dequantize(q).map((value, i) => value - w[i]), h);

for (const format of formatNames) {
  for (const scales of ["f16", "e1m3-row", "e2m2-tensor"].map(scaleFormat)) {
    test(`outputs lose less than what gptq() left: ${format}, ${scales.name}`, () => {
      const { matrix } = gptq(w, h, { rows, cols, format, group, scales, clip: true });
      const refined = refine(matrix, w, h, { damping: 0 });
      const [before, after] = [matrix, refined].map(energies);
      after.forEach((energy, row) => assert.ok(energy <= before[row] * (1 + 1e-5)));
      assert.ok(sum(after) < 0.97 * sum(before), `${sum(after)}, ${sum(before)}`);
      assert.deepEqual([refined.scaleExponent, refined.factor], [
        matrix.scaleExponent,
        matrix.factor,
      ]);
    });
  }

  test(`no other code of any one column would lose less: ${format}`, () => {
    const q = quantize(w, { rows, cols, format, group });
    let refined = q;
    for (let i = 0; i < 5; i++) refined = refine(refined, w, h, { damping: 0, scales: false });
    assert.deepEqual(refine(refined, w, h, { damping: 0, scales: false }), refined);
    assert.ok(sum(energies(refined)) < 0.7 * sum(energies(q)));
    assert.deepEqual(refined.scales, q.scales);
  });

  test(`with a diagonal H codes are the nearest and stay, bit for bit: ${format}`, () => {
    const q = quantize(w, { rows, cols, format, group });
    const own = diagonalOf(fill(cols, uniform(5)));
    assert.deepEqual(refine(q, w, own, { scales: false }), q);
    assert.deepEqual(refine(q, w, new Float64Array(cols * cols), { scales: false }), q);
  });
}
