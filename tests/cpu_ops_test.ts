import { test } from "node:test";
import assert from "node:assert/strict";
import { attentionShape, createCpuOps } from "../lib/cpu_ops.ts";
import { narrow } from "../lib/float16.ts";
import { readModelConfig, rotationTable } from "../lib/model_config.ts";
import { quantize } from "../lib/quantizer.ts";
import { CONFIGS } from "./made_models.ts";

const config = readModelConfig(CONFIGS.llama);
const state = { config, caches: [], rotations: rotationTable(config, 4), ids: [1, 0], position: 0 };
const ops = createCpuOps(state);

function dense(rows: number, cols: number, values: number[]) {
  const bytes = narrow(Float32Array.from(values), "F32");
  return { name: "w", rows, cols, dtype: "F32" as const, bytes };
}

test("stacked parts, dense and packed, multiply as one matrix with one bias", () => {
  const packed = quantize(Float32Array.of(0, 6), { rows: 1, cols: 2, format: "fp4-sym" });
  const w = { parts: [dense(2, 2, [1, 0, 0, 1]), packed], bias: Float32Array.of(0, 10, 100) };
  const y = ops.linear(w, Float32Array.of(1, 2, 3, 4));
  assert.deepEqual(y, Float32Array.of(1, 12, 112, 3, 14, 124));
});

test("addLinear() adds to what is there", () => {
  const into = Float32Array.of(5, 5);
  ops.addLinear({ parts: [dense(2, 1, [1, 2])], bias: null }, Float32Array.of(3), into);
  assert.deepEqual(into, Float32Array.of(8, 11));
});

test("embed() takes the ids that are set", () => {
  const table = { parts: [dense(2, 2, [1, 2, 3, 4])], bias: null };
  assert.deepEqual(ops.embed(table), Float32Array.of(3, 4, 1, 2));
});

test("norm() of the last token alone leaves the others out", () => {
  const x = Float32Array.of(9, 9, 3, -3);
  const y = ops.norm(x, Float32Array.of(1, 1), { last: true });
  assert.ok(Math.abs(y[0] - 1) < 1e-5 && Math.abs(y[1] + 1) < 1e-5 && y.length === 2);
});

test("attentionShape() is the network's", () => {
  const { heads, kvHeads, headDim, rotaryDim } = attentionShape(config);
  assert.deepEqual([heads, kvHeads, headDim, rotaryDim], [4, 2, 12, 12]);
});
