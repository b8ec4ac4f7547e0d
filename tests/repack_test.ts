/** Claims about lib/repack.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatNames } from "../lib/format.ts";
import { dequantize, groupScales, quantize } from "../lib/quantizer.ts";
import { openMatrix, repack, storableScales, valueOf } from "../lib/repack.ts";
import { fill, normal } from "./random.ts";

const rows = 3, cols = 72, group = 32; // a ragged group, and units that are not full
const w = fill(rows * cols, normal(1));

for (const format of [...formatNames, "custom:-1,-0.3,0.4,1-sym"]) {
  for (const scales of ["f16", "e1m3-row", "e2m2-tensor", "e4m4-row"]) {
    test(`taken apart and put together it is what it was: ${format}, ${scales}`, () => {
      const q = quantize(w, { rows, cols, group, format, scales });
      assert.deepEqual(repack(q, openMatrix(q)), q);
    });

    test(`a code by its pair is what dequantize() gives: ${format}, ${scales}`, () => {
      const q = quantize(w, { rows, cols, group, format, scales });
      const { codes, scales: pairs } = openMatrix(q);
      const values = Float32Array.from(codes, (code, i) => {
        const pair = 6 * Math.floor(i / cols) + 2 * Math.floor(i % cols / group);
        return valueOf(q.format, code, pairs[pair], pairs[pair + 1]);
      });
      assert.deepEqual(values, dequantize(q));
    });

    test(`a storable scale is stored as it is: ${format}, ${scales}`, () => {
      const q = quantize(w, { rows, cols, group, format, scales });
      const open = openMatrix(q), storable = storableScales(q);
      const wanted = 0.83 * open.scales[2 * 3], scale = storable(1, wanted);
      assert.ok(Math.abs(scale / wanted - 1) < 0.3, `${scale} for ${wanted}`);
      open.scales[2 * 3] = scale;
      if (q.format.scaling === "one") open.scales[2 * 3 + 1] = scale;
      const put = repack(q, open);
      assert.equal(groupScales(put, 1, 0).positive, scale);
      assert.deepEqual(groupScales(put, 1, 1), groupScales(q, 1, 1));
      assert.equal(storable(1, scale), scale);
    });
  }
}

test("scales of a tensor with an exponent end at the least and the largest f16", () => {
  const q = quantize(w.map((x) => x * 1e-9), { rows, cols, group, format: "nf4-asym" });
  assert.ok(q.scaleExponent > 0);
  const storable = storableScales(q), unit = 2 ** q.scaleExponent;
  assert.equal(storable(0, 1), 65504 / unit);
  assert.equal(storable(0, 0), 2 ** -14 / unit);
});
