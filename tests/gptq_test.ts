/** Claims about lib/gptq.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { format as formatOf, formatNames } from "../lib/format.ts";
import { gptq } from "../lib/gptq.ts";
import { layerError, relativeError } from "../lib/layer_error.ts";
import type { Group, QuantizedMatrix } from "../lib/pack.ts";
import { factorOf } from "../lib/pack_scales.ts";
import { dequantize, groupScales, quantize, rowCodes } from "../lib/quantizer.ts";
import { scaleFormat } from "../lib/scale_format.ts";
import { diagonalOf, gramOf } from "./made_moments.ts";
import { plainGptq } from "./gptq_oracle.ts";
import { fill, normal, uniform } from "./random.ts";

const rows = 6;
const scalesOf = (q: QuantizedMatrix, group: number) =>
  JSON.stringify(Array.from({ length: rows }, (_, row) => groupScales(q, row, group)));
const factors = (q: QuantizedMatrix) => Array.from({ length: rows }, (_, row) => factorOf(q, row));
const weightsFor = (cols: number, seed = 1) => fill(rows * cols, normal(seed));

for (const format of ["nf3-asym", "fp4-sym", "int4-asym"]) {
  test(`coded scales keep their factors, codes are searched for again: ${format}`, () => {
    const cols = 160;
    const w = weightsFor(cols), h = gramOf(cols, 800, 5);
    const error = (q: Float32Array) => relativeError(layerError(q, w, h));
    for (const scales of ["e1m3-row", "e2m2-tensor"]) {
      const options = { rows, cols, format, group: 32 as Group, name: "w" };
      const plain = quantize(w, { ...options, scales, clip: true });
      const coded = { ...options, scales: scaleFormat(scales) };
      assert.deepEqual(gptq(w, diagonalOf(fill(cols, uniform(3))), coded).matrix, plain);
      for (const actOrder of [false, true]) {
        const { matrix } = gptq(w, h, { ...coded, actOrder });
        const same = [0, 1].map((group) => scalesOf(matrix, group) === scalesOf(plain, group));
        assert.deepEqual(same, [true, actOrder], "in order all but the first hold feedback");
        assert.deepEqual(factors(matrix), factors(plain));
        const [ours, theirs] = [matrix, plain].map((q) => error(dequantize(q)));
        assert.ok(ours < 0.8 * theirs, `${ours} against ${theirs}, ${scales}, ${actOrder}`);
      }
    }
  });
}

for (const format of [...formatNames, "e1m2-asym", "custom:-1,-0.3,0.4,1-sym"]) {
  test(`with a diagonal H it is plain rounding bit for bit, in order or not: ${format}`, () => {
    const cols = 200; // a block and a part, ragged groups
    const w = weightsFor(cols);
    const h = diagonalOf(fill(cols, uniform(3)));
    for (const group of [16, 64, 256, "row"] as Group[]) {
      const options = { rows, cols, format, group, name: "w" };
      const plain = quantize(w, options);
      for (const actOrder of [false, true]) {
        assert.deepEqual(gptq(w, h, { ...options, actOrder }).matrix, plain);
      }
    }
  });

  test(`the output's error is below plain rounding's: ${format}`, () => {
    const cols = 160;
    const w = weightsFor(cols), h = gramOf(cols, 800, 5);
    const error = (q: Float32Array) => relativeError(layerError(q, w, h));
    const options = { rows, cols, format, group: 32 as Group };
    const plain = error(dequantize(quantize(w, options)));
    for (const actOrder of [false, true]) {
      for (const clip of [false, true]) {
        const { matrix } = gptq(w, h, { ...options, actOrder, clip });
        const ours = error(dequantize(matrix));
        assert.ok(ours < 0.8 * plain, `${ours} against ${plain}, ${actOrder}, ${clip}`);
      }
    }
  });

  test(`an implementation written apart, one column at a time, agrees: ${format}`, () => {
    for (const [cols, group] of [[40, 16], [150, 32], [150, "row"]] as [number, Group][]) {
      const w = weightsFor(cols, cols), h = gramOf(cols, 3 * cols, 7);
      for (const actOrder of [false, true]) {
        const options = { rows, cols, format: formatOf(format), group, actOrder };
        const { matrix } = gptq(w, h, options);
        const codes = Array.from({ length: rows }, (_, row) => [...rowCodes(matrix, row)]).flat();
        const theirs = plainGptq(w, h, options);
        // two ways to sum differ by some 1e-13, which moves a weight across a border hardly ever
        const different = codes.filter((code, i) => code !== theirs[i]).length;
        assert.equal(different, 0, `${cols}, ${group}, ${actOrder}`);
      }
    }
  });
}

test("scales of groups inside a block hold the feedback of the columns before", () => {
  const cols = 64, w = weightsFor(cols), h = gramOf(cols, 300, 2);
  const options = { rows, cols, format: "nf3-asym", group: 32 as Group };
  const { matrix } = gptq(w, h, options);
  const stale = quantize(w, options);
  assert.deepEqual(groupScales(matrix, 0, 0), groupScales(stale, 0, 0));
  assert.notDeepEqual(groupScales(matrix, 0, 1), groupScales(stale, 0, 1));
  assert.deepEqual(
    groupScales(gptq(w, h, { ...options, actOrder: true }).matrix, 0, 1),
    groupScales(stale, 0, 1),
    "with act-order groups are static",
  );
});

test("a column whose input was always 0 is rounded to nearest, and disturbs none", () => {
  const cols = 32, dead = 5, w = weightsFor(cols), h = gramOf(cols, 100, 2);
  for (let j = 0; j < cols; j++) h[dead * cols + j] = h[j * cols + dead] = 0;
  const options = { rows, cols, format: "int4-sym", group: "row" as Group };
  const { matrix } = gptq(w, h, options);
  const plain = quantize(w, options);
  for (let row = 0; row < rows; row++) {
    assert.equal(rowCodes(matrix, row)[dead], rowCodes(plain, row)[dead]);
  }
  assert.deepEqual(gptq(w, new Float64Array(cols * cols), options).matrix, plain);
});

test("inputs that always go together leave H singular, which damping mends", () => {
  const w = weightsFor(16);
  const { matrix } = gptq(w, new Float64Array(256).fill(3), {
    rows,
    cols: 16,
    format: "nf4-asym",
    damping: 0,
  });
  assert.ok(dequantize(matrix).every(Number.isFinite));
});

test("weights that feedback pushes beyond their group's reach are counted", () => {
  const h = Float64Array.of(1, 0.999, 0.999, 1);
  const options = { rows: 1, cols: 2, format: "custom:-1,0,1-sym", group: "row" as const };
  const actOrder = { ...options, actOrder: true };
  assert.equal(gptq(Float32Array.of(0.4, 1), h, options).saturated, 1);
  assert.equal(gptq(Float32Array.of(0, 1), h, actOrder).saturated, 0);
});

test("a scale that grows past the tensor's exponent ends at the largest f16", () => {
  const w = Float32Array.of(65000, 65000, 65000, 65000);
  const h = new Float64Array(16).fill(1);
  const { matrix } = gptq(w, h, { rows: 1, cols: 4, format: "custom:-1,0,1-asym", group: 16 });
  assert.ok(dequantize(matrix).every(Number.isFinite));
});

test("what does not fit is refused by name", () => {
  const options = { rows: 1, cols: 2, format: "nf4-asym", name: "w" };
  assert.throws(() => gptq(new Float32Array(3), new Float64Array(4), options), {
    name: "TypeError",
    message: 'Cannot quantise "w" [1, 2] as W must be 2 numbers: got 3',
  });
  assert.throws(() => gptq(new Float32Array(2), new Float64Array(3), options), {
    name: "TypeError",
    message: 'Cannot quantise "w" [1, 2] as H must be [2, 2]: got 3',
  });
  assert.throws(() => gptq(new Float32Array(2), Float64Array.of(1, 0, 0, NaN), options), {
    name: "RangeError",
    message: 'Cannot quantise "w" [1, 2] as H must be finite: got NaN',
  });
  assert.throws(() => gptq(Float32Array.of(1, NaN), new Float64Array(4), options), {
    name: "RangeError",
    message: 'Cannot quantise "w" [1, 2] as weights must be finite: got NaN at [0, 1]',
  });
});
