/** Claims about lib/tape_ops.ts; whole networks are held to finite differences in lora_test.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createCpuOps } from "../lib/cpu_ops.ts";
import { createTape, type TapeWeight } from "../lib/tape_ops.ts";
import { madeLayer } from "./made_layers.ts";
import { CONFIGS } from "./made_models.ts";
import { fill, normal } from "./random.ts";

const { layer, config } = madeLayer(CONFIGS["llama"], "F32");
const tokens = 5; // one run of four and one
const ids = [...Array(tokens).keys()];
const random = (length: number, seed: number) => fill(length, normal(seed));
const weight = (rows: number, cols: number): TapeWeight => ({
  ...{ rows, cols, w: random(rows * cols, 7), bias: random(rows, 8) },
  adapters: [{
    ...{ firstRow: 1, rows: rows - 1, rank: 2, scale: 0.5 },
    a: Float64Array.from(random(2 * cols, 9)),
    b: Float64Array.from(random(2 * (rows - 1), 10)),
    gradA: new Float64Array(2 * cols),
    gradB: new Float64Array(2 * (rows - 1)),
  }],
});

test("a linear with an adapter is W + s B A, on the rows it is for", () => {
  const w = weight(6, 8);
  const { ops } = createTape(config, new Float32Array(0), ids);
  const value = Float64Array.from(random(tokens * 8, 1));
  const y = ops.linear(w, { value, grad: new Float64Array(value.length), width: 8 });
  const [{ a, b }] = w.adapters;
  for (let t = 0; t < tokens; t++) {
    for (let row = 0; row < 6; row++) {
      let sum = w.bias![row];
      for (let j = 0; j < 8; j++) {
        const low = row > 0 ? 0.5 * (b[2 * row - 2] * a[j] + b[2 * row - 1] * a[8 + j]) : 0;
        sum += (w.w[row * 8 + j] + low) * value[t * 8 + j];
      }
      assert.ok(Math.abs(y.value[t * 6 + row] - sum) < 1e-12);
    }
  }
});

test("the gradient of inputs is that of finite differences, through a norm, gates and a sum", () => {
  const wide = weight(2 * config.hidden, 48), down = weight(48, config.hidden);
  const lossOf = (value: Float64Array, back: boolean) => {
    const tape = createTape(config, new Float32Array(0), ids);
    const x = { value: value.slice(), grad: new Float64Array(value.length), width: 48 };
    const gated = tape.ops.gatedLinear(wide, tape.ops.norm(x, layer.mlpNorm));
    tape.ops.addLinear(down, gated, x);
    x.grad.forEach((_, i) => x.grad[i] = Math.cos(i));
    if (back) tape.backward();
    return { loss: x.value.reduce((sum, y, i) => sum + y * Math.cos(i), 0), grad: x.grad };
  };
  const value = Float64Array.from(random(tokens * 48, 2)), step = 1e-5;
  const { grad } = lossOf(value, true);
  for (const i of [0, 47, 48, 130, value.length - 1]) {
    const at = (by: number) => lossOf(value.map((x, j) => j === i ? x + by : x), false).loss;
    const slope = (at(step) - at(-step)) / (2 * step);
    assert.ok(Math.abs(slope - grad[i]) < 1e-5 * (1 + Math.abs(slope)), `${slope}, ${grad[i]}`);
  }
});

test("values are those of the operations of the reference", () => {
  const state = { config, caches: [], rotations: new Float32Array(0), ids, position: 0 };
  const reference = createCpuOps(state);
  const { ops } = createTape(config, new Float32Array(0), ids);
  const x = random(tokens * 48, 4);
  const variable = { value: Float64Array.from(x), grad: new Float64Array(x.length), width: 48 };
  const [ours, theirs] = [
    ops.norm(variable, layer.mlpNorm).value,
    reference.norm(x, layer.mlpNorm),
  ];
  ours.forEach((value, i) => assert.ok(Math.abs(value - theirs[i]) < 1e-6));
});
