/** Claims about lib/awq.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { awqScales, magnitudesOf, rootPower } from "../lib/awq.ts";
import type { HostLayer } from "../lib/block_inputs.ts";
import { weightsOf } from "../lib/calibrate.ts";
import { foldScales, sharedMagnitudes } from "../lib/folding.ts";
import { format as formatOf, formatNames } from "../lib/format.ts";
import { clipByOutput } from "../lib/output_clip.ts";
import { dequantize, groupScales, quantize } from "../lib/quantizer.ts";
import { foldIntoGain, foldIntoRows, plainClip, plainSearch } from "./awq_oracle.ts";
import { madeLayer } from "./made_layers.ts";
import { CONFIGS } from "./made_models.ts";
import { madeInputs, momentsOf } from "./made_moments.ts";
import { fill, normal, uniform } from "./random.ts";

const rows = 8, cols = 64, tokens = 200;
const x = madeInputs(cols, tokens, 3), h = momentsOf(x, cols);
const rowsOf = (numbers: ArrayLike<number>): number[][] =>
  Array.from(
    { length: numbers.length / cols },
    (_, row) => Array.from({ length: cols }, (_, j) => numbers[row * cols + j]),
  );

for (const format of formatNames.filter((name) => !name.startsWith("int"))) {
  const w = fill(rows * cols, normal(5));
  const plain = { w: rowsOf(w), x: rowsOf(x), format: formatOf(format), group: 32 };

  test(`an implementation written apart finds the same ratio and scales: ${format}`, () => {
    const { ratio, left, scales } = awqScales([w], h, { cols, format, group: 32 });
    const theirs = plainSearch(plain);
    assert.equal(ratio, theirs.ratio);
    assert.ok(left < 1 && Math.abs(left / theirs.left - 1) < 1e-5, `${left}, ${theirs.left}`);
    scales.forEach((s, j) => assert.ok(Math.abs(s / theirs.s[j] - 1) < 1e-12));
  });

  test(`an implementation written apart clips to the same scales: ${format}`, () => {
    const q = clipByOutput(quantize(w, { rows, cols, format, group: 32 }), w, h);
    const values = dequantize(q);
    for (const [row, own] of plain.w.entries()) {
      const theirs = plainClip(own, plain);
      const ours = theirs.pairs.map((_, group) => groupScales(q, row, group));
      assert.deepEqual(ours.map(({ positive, negative }) => [positive, negative]), theirs.pairs);
      const same = values.subarray(row * cols, (row + 1) * cols);
      assert.deepEqual(same, Float32Array.from(theirs.weights));
    }
  });
}

for (const linear of ["qkv", "gateUp", "output", "down"] as const) {
  test(`an implementation written apart folds to the same numbers: ${linear}`, () => {
    const { layer, config } = madeLayer(CONFIGS["llama"], "F32");
    const folded = { ...layer }, { cols } = layer[linear].parts[0];
    const wanted = sharedMagnitudes(
      Float64Array.from(fill(cols, uniform(1)), (u) => 0.25 + 4 * u),
      linear,
      config,
    );
    const s = [...foldScales(folded, linear, wanted, { config, dtype: "F32" })];
    const matrix = (of: HostLayer, name: "qkv" | "output" | "gateUp" | "down", part: number) => {
      const { cols } = of[name].parts[part], w = weightsOf(of[name].parts[part]);
      return Array.from(
        { length: w.length / cols },
        (_, i) => [...w.slice(i * cols, (i + 1) * cols)],
      );
    };
    const near = (ours: ArrayLike<number>, theirs: number[]) =>
      theirs.forEach((v, i) => assert.ok(Math.abs(ours[i] - v) <= 2 ** -22 * Math.abs(v)));
    if (linear === "qkv" || linear === "gateUp") {
      const norm = linear === "qkv" ? "attentionNorm" : "mlpNorm";
      for (let part = 0; part < layer[linear].parts.length; part++) {
        const theirs = foldIntoGain(matrix(layer, linear, part), [...layer[norm]], s);
        near(matrix(folded, linear, part).flat(), theirs.w.flat());
        near(folded[norm], theirs.gain);
      }
      return;
    }
    const [producer, part] = linear === "output" ? ["qkv", 2] as const : ["gateUp", 1] as const;
    // query heads that share a head of v share its scales
    const { heads, kvHeads, headDim } = config, spread = linear === "output" ? heads / kvHeads : 1;
    const own = s.filter((_, i) => Math.floor(i / headDim) % spread === 0);
    const theirs = foldIntoRows(matrix(layer, linear, 0), matrix(layer, producer, part), {
      s,
      own,
    });
    near(matrix(folded, producer, part).flat(), theirs.before.flat());
    near(matrix(folded, linear, 0).flat(), theirs.w.flat());
  });
}

test("of many rows some are looked at, and find nearly what all find", () => {
  const w = fill(300 * cols, normal(5)), options = { cols, format: "nf3-asym", group: 32 } as const;
  const { ratio, left } = awqScales([w], h, options);
  const all = Array.from(
    { length: 20 },
    (_, i) => awqScales([w.slice(15 * i * cols, 15 * (i + 1) * cols)], h, options),
  );
  const mean = all.reduce((sum, one) => sum + one.ratio, 0) / 20;
  assert.ok(Math.abs(ratio - mean) < 0.2, `${ratio}, ${mean}`);
  assert.ok(left < 0.95);
});

test("matrices that share inputs share the scales that serve both", () => {
  const [a, b] = [fill(rows * cols, normal(6)), fill(rows * cols, normal(7))];
  const options = { cols, format: "nf3-asym", group: 32 as const };
  const { left } = awqScales([a, b], h, options);
  const alone = [a, b].map((w) => awqScales([w], h, options).left);
  assert.ok(left >= Math.min(...alone) && left <= 1);
});

test("inputs of equal size are left as they are", () => {
  const w = fill(rows * cols, normal(8));
  const flat = new Float64Array(cols * cols);
  for (let j = 0; j < cols; j++) flat[j * cols + j] = 4;
  const { scales, left } = awqScales([w], flat, { cols, format: "nf4-asym" });
  assert.equal(left, 1);
  assert.ok(scales.every((scale) => scale === 1));
  assert.deepEqual(magnitudesOf(flat, 2).slice(0, 1), Float64Array.of(2));
});

test("roots to a power of k / 1024 are those of Math.pow", () => {
  for (const x of [1e-4, 0.3, 1, 7, 1e5]) {
    for (const k of [0, 1, 51, 512, 973, 1023]) {
      assert.ok(Math.abs(rootPower(x, k) / x ** (k / 1024) - 1) < 1e-13);
    }
  }
});
