/** Claims about lib/tape_attention.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { attention } from "../lib/attention_reference.ts";
import { attentionShape } from "../lib/cpu_ops.ts";
import { readModelConfig, rotationTable } from "../lib/model_config.ts";
import { attend, attendBack, turn } from "../lib/tape_attention.ts";
import { CONFIGS } from "./made_models.ts";
import { fill, normal } from "./random.ts";

const tokens = 9;
for (const family of ["llama", "mistral, sliding window"]) {
  const config = readModelConfig(CONFIGS[family]);
  const { heads, kvHeads, headDim } = config;
  const width = (heads + 2 * kvHeads) * headDim;
  const variable = (n: number, seed: number) => ({
    ...{ value: Float64Array.from(fill(tokens * n, normal(seed))), width: n },
    grad: new Float64Array(tokens * n),
  });

  test(`attention over a window is the reference's over its cache: ${family}`, () => {
    const qkv = variable(width, 1), y = { ...variable(heads * headDim, 2) };
    y.value.fill(0);
    attend(qkv, y, config);
    const part = (first: number, t: number) =>
      qkv.value.subarray(t * width + first * headDim).subarray(0, kvHeads * headDim);
    const cacheOf = (first: number) =>
      Float32Array.from(Array.from({ length: tokens }, (_, t) => [...part(first, t)]).flat());
    const cache = { keys: cacheOf(heads), values: cacheOf(heads + kvHeads), f16: false };
    const theirs = attention(Float32Array.from(qkv.value), attentionShape(config), cache, 0);
    y.value.forEach((value, i) => assert.ok(Math.abs(value - theirs[i]) < 1e-5));
  });

  test(`its gradient is that of finite differences: ${family}`, () => {
    const qkv = variable(width, 1);
    const run = () => {
      const y = variable(heads * headDim, 2);
      y.value.fill(0);
      const shares = attend(qkv, y, config);
      return { y, shares, loss: y.value.reduce((sum, v, i) => sum + v * Math.cos(i), 0) };
    };
    const { y, shares } = run();
    y.grad.forEach((_, i) => y.grad[i] = Math.cos(i));
    attendBack(qkv, y, shares, config);
    const step = 1e-5;
    for (let i = 3; i < qkv.value.length; i += 41) {
      const kept = qkv.value[i];
      qkv.value[i] = kept + step;
      const above = run().loss;
      qkv.value[i] = kept - step;
      const slope = (above - run().loss) / (2 * step);
      qkv.value[i] = kept;
      assert.ok(Math.abs(slope - qkv.grad[i]) < 1e-7, `${slope}, ${qkv.grad[i]} at ${i}`);
    }
  });

  test(`turned and turned back is what it was, values untouched: ${family}`, () => {
    const { value } = variable(width, 3);
    const kept = value.slice();
    turn(value, config, rotationTable(config, tokens), 1);
    assert.notDeepEqual(value, kept);
    const from = (heads + kvHeads) * headDim;
    assert.deepEqual(value.subarray(from, width), kept.subarray(from, width));
    turn(value, config, rotationTable(config, tokens), -1);
    value.forEach((x, i) => assert.ok(Math.abs(x - kept[i]) < 1e-6)); // f32 sines and cosines
  });
}
