/** Claims about lib/smoothquant.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type CpuWeight, createCpuOps } from "../lib/cpu_ops.ts";
import type { Matrix } from "../lib/linear_reference.ts";
import { int8Activations, int8Rows, smoothScales } from "../lib/smoothquant.ts";
import { madeLayer } from "./made_layers.ts";
import { CONFIGS } from "./made_models.ts";
import { fill, normal } from "./random.ts";

test("scales are those of the formula, for any share", () => {
  const w = [Float32Array.of(0.5, -2, 1, 0.1), Float32Array.of(0.1, 3)];
  const largest = Float64Array.of(40, 0.2);
  for (const alpha of [0, 0.25, 0.5, 0.75]) {
    const scales = smoothScales(w, largest, alpha);
    const wanted = [1, 3].map((most, j) => largest[j] ** alpha / most ** (1 - alpha));
    scales.forEach((scale, j) => assert.ok(Math.abs(scale / wanted[j] - 1) < 1e-9));
  }
});

test("inputs and weights that are never felt do not divide by 0", () => {
  const scales = smoothScales([new Float32Array(2)], Float64Array.of(0, 1));
  assert.ok(scales.every((scale) => Number.isFinite(scale) && scale > 0));
});

test("a row of 8 bits is off by half a step at most, its largest number not at all", () => {
  const cols = 50, x = fill(4 * cols, normal(1));
  const y = int8Rows(x, cols);
  for (let row = 0; row < 4; row++) {
    const own = x.subarray(row * cols, (row + 1) * cols);
    const most = Math.max(...own.map(Math.abs));
    own.forEach((value, j) => {
      assert.ok(Math.abs(y[row * cols + j] - value) <= most / 254 * (1 + 1e-6));
      if (Math.abs(value) === most) assert.ok(Math.abs(y[row * cols + j] / value - 1) < 1e-6);
    });
    const steps = new Set(y.subarray(row * cols, (row + 1) * cols));
    assert.ok([...steps].every((value) => {
      const q = value / (most / 127);
      return Math.abs(q - Math.round(q)) < 1e-4;
    }));
  }
  assert.deepEqual(int8Rows(new Float32Array(3), 3), new Float32Array(3));
});

test("linears are given rounded inputs, the head is not", () => {
  const { layer, config } = madeLayer(CONFIGS["llama"], "F32");
  const rotations = new Float32Array(0);
  const ops = createCpuOps({ config, caches: [], rotations, ids: [], position: 0 });
  const identity: Matrix = {
    ...{ name: "head", rows: 48, cols: 48, dtype: "F32" },
    bytes: new Uint8Array(Float32Array.from({ length: 48 * 48 }, (_, i) => +(i % 49 === 0)).buffer),
  };
  const [head, other]: CpuWeight[] = [{ parts: [identity], bias: null }, {
    parts: [identity],
    bias: null,
  }];
  const rounding = int8Activations(ops, head);
  const x = fill(2 * 48, normal(3));
  assert.deepEqual(rounding.linear(head, x), x);
  assert.deepEqual(rounding.linear(other, x), int8Rows(x, 48));
  const sum = x.slice();
  rounding.addLinear(other, x, sum);
  assert.deepEqual(sum, int8Rows(x, 48).map((value, i) => Math.fround(value + x[i])));
  assert.deepEqual(
    rounding.gatedLinear(layer.gateUp, x),
    ops.gatedLinear(layer.gateUp, int8Rows(x, 48)),
  );
});
