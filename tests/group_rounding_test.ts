/** Claims about lib/group_rounding.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { format as formatOf, formatNames } from "../lib/format.ts";
import { fitGroups, packCodes, roundingOf } from "../lib/group_rounding.ts";
import { type Group, groupsPerRow } from "../lib/pack.ts";
import { dequantize, quantize } from "../lib/quantizer.ts";
import { fill, normal } from "./random.ts";

const [rows, cols] = [3, 72]; // a short last group, padded units

for (const name of formatNames) {
  test(`fitGroups(), roundingOf() and packCodes() are quantize(), ${name}`, () => {
    // the last of these sizes wants an exponent
    for (const [group, size] of [[16, 1], [64, 1], ["row", 1], [32, 1e-7]] as [Group, number][]) {
      const w = fill(rows * cols, normal(4)).map((x) => x * size);
      const shape = { rows, cols, format: formatOf(name), group };
      const scales = fitGroups(w, shape);
      const round = roundingOf(shape.format, scales.scaleExponent);
      const width = group === "row" ? cols : group;
      const rounded = Array.from(w, (weight, i) => {
        const pair = 2 *
          (Math.floor(i / cols) * groupsPerRow(shape) + Math.floor(i % cols / width));
        return { ...round(weight, scales.pairs, pair) };
      });
      const q = packCodes(Uint8Array.from(rounded, ({ code }) => code), scales, shape, "w");
      assert.deepEqual(q, quantize(w, { ...shape, name: "w" }));
      assert.deepEqual(dequantize(q), Float32Array.from(rounded, ({ value }) => value));
      assert.ok(
        rounded.every(({ saturated }) => !saturated),
        "nothing lies beyond its own extremes",
      );
    }
  });
}

test("a weight beyond its group's reach is saturated, on either side", () => {
  const round = roundingOf(formatOf("nf4-asym"), 0);
  const scales = Float64Array.of(1, 2);
  assert.deepEqual({ ...round(1.1, scales, 0) }, { code: 15, value: 1, saturated: true });
  assert.deepEqual({ ...round(-1.9, scales, 0) }, { code: 0, value: -2, saturated: false });
  assert.deepEqual({ ...round(-500, scales, 0) }, { code: 0, value: -2, saturated: true });
});

test("scales that outgrow the exponent end at the largest f16", () => {
  const shape = { rows: 1, cols: 1, format: formatOf("nf4-asym"), group: "row" as const };
  const { pairs } = fitGroups(Float32Array.of(1e6), shape, { scaleExponent: 0 });
  assert.deepEqual(pairs, Float64Array.of(65504, 0));
});
