/** Claims about lib/smooth_model.ts, on a small network with outlying inputs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openDevice } from "../lib/device.ts";
import { loadModel } from "../lib/llama.ts";
import { loadSmoothed, type SmoothOptions } from "../lib/smooth_model.ts";
import { inFolder } from "./made_checkpoints.ts";
import { CONFIGS, madeWeights, writeModel } from "./made_models.ts";

const device = await openDevice({ binding: "cpu" });
const windows = [Uint32Array.from({ length: 16 }, (_, i) => (i * 37 + 5) % 101)];
const plain: SmoothOptions = { windows, alpha: null, weights: null, int8: false };

/** Runs with a model whose norms make some inputs fifty times larger. */
async function withModel(act: (path: string) => Promise<void>, family = "llama"): Promise<void> {
  await inFolder(async (at) => {
    const tensors = madeWeights(CONFIGS[family], 4);
    for (const [name, { values }] of tensors) {
      if (name.endsWith("layernorm.weight")) { for (let j = 0; j < 48; j += 12) values[j] *= 50; }
    }
    await writeModel(at("m"), CONFIGS[family], tensors);
    await act(at("m"));
  });
}

async function logits(path: string, options: SmoothOptions): Promise<Float32Array> {
  const model = await loadSmoothed(device, path, options);
  return await model.allLogits(windows[0]);
}

function distance(a: Float32Array, b: Float32Array): number {
  return Math.sqrt(a.reduce((sum, y, i) => sum + (y - b[i]) ** 2, 0));
}

for (
  const family of [
    "llama",
    "llama, all biases",
    "phi3, fused tensors, half a head turned, a window",
  ]
) {
  test(`smoothing alone changes nothing: ${family}`, () =>
    withModel(async (path) => {
      const model = await loadModel(device, path, { kv: "f32" });
      const dense = await model.allLogits(windows[0]);
      assert.deepEqual(await logits(path, plain), dense);
      const smoothed = await logits(path, { ...plain, alpha: 0.5 });
      assert.ok(distance(smoothed, dense) < 1e-5 * Math.hypot(...dense));
    }, family));
}

test("with outlying inputs, 8 bits for inputs and weights lose less once it is smoothed", () =>
  withModel(async (path) => {
    const dense = await logits(path, plain);
    const rounded = { ...plain, weights: "int8", int8: true } as const;
    const before = distance(await logits(path, rounded), dense);
    const after = distance(await logits(path, { ...rounded, alpha: 0.5 }), dense);
    assert.ok(after < 0.8 * before, `${after}, ${before}`);
  }));

test("weights may be AFPQ's while inputs are of 8 bits", () =>
  withModel(async (path) => {
    const weights = { format: "nf4-asym", group: 16 } as const;
    const [four, both] = [
      await logits(path, { ...plain, weights }),
      await logits(path, { ...plain, weights, int8: true }),
    ];
    assert.notDeepEqual(four, both);
    assert.ok(both.every(Number.isFinite));
  }));
