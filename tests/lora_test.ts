/** Claims about lib/lora.ts, on small networks. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { openCheckpoint, readSafetensors } from "../lib/checkpoint.ts";
import { openDevice } from "../lib/device.ts";
import { sha256 } from "../lib/hashed_file.ts";
import { loadModel } from "../lib/llama.ts";
import { createTrainer, loadLora, type LoraModel, lossOf, saveAdapters } from "../lib/lora.ts";
import { openModelConfig } from "../lib/model_config.ts";
import { quantizeCheckpoint } from "../lib/quantize_checkpoint.ts";
import { inFolder } from "./made_checkpoints.ts";
import { CONFIGS, madeWeights, writeModel } from "./made_models.ts";

const ids = [1, 17, 33, 8, 8, 99, 54, 2, 61, 40];
const options = { rank: 2, alpha: 4, targets: ["q_proj", "v_proj", "o_proj", "down_proj"] };

async function load(path: string, targets = options.targets): Promise<LoraModel> {
  const checkpoint = await openCheckpoint(path);
  const config = await openModelConfig(checkpoint);
  return await loadLora(checkpoint, config, { ...options, targets });
}

const FAMILIES = [
  "llama",
  "llama, tied, linear scaling",
  "llama, all biases",
  "mistral, sliding window",
  "phi3, fused tensors, half a head turned, a window",
];

for (const family of FAMILIES) {
  test(`before the first step the loss is the model's own: ${family}`, () =>
    inFolder(async (at) => {
      await writeModel(at("m"), CONFIGS[family], madeWeights(CONFIGS[family], 3));
      const device = await openDevice({ binding: "cpu" });
      const model = await loadModel(device, at("m"), { kv: "f32" });
      const losses = await model.losses(ids);
      const own = losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
      const targets = ["qkv_proj", "q_proj", "o_proj"];
      const loss = lossOf(await load(at("m"), targets), ids, { backward: false });
      assert.ok(Math.abs(loss - own) < 1e-5 * own, `${loss}, ${own}`); // f32 against f64
    }));

  test(`gradients are those of finite differences: ${family}`, () =>
    inFolder(async (at) => {
      await writeModel(at("m"), CONFIGS[family], madeWeights(CONFIGS[family], 3));
      const targets = "qkv q k v o gate up gate_up down".split(" ").map((name) => `${name}_proj`);
      const model = await load(at("m"), targets);
      for (const { b } of model.adapters.values()) b.forEach((_, i) => b[i] = Math.sin(i) / 20);
      lossOf(model, ids, { backward: true });
      const step = 1e-5; // the third derivative leaves 1e-10, f64 leaves 1e-11
      for (const [name, { a, b, gradA, gradB }] of model.adapters) {
        for (const [numbers, grad] of [[a, gradA], [b, gradB]]) {
          for (const i of [0, numbers.length >> 1, numbers.length - 1]) {
            const kept = numbers[i];
            const lossAt = (value: number) => {
              numbers[i] = value;
              return lossOf(model, ids, { backward: false });
            };
            const slope = (lossAt(kept + step) - lossAt(kept - step)) / (2 * step);
            numbers[i] = kept;
            assert.ok(
              Math.abs(slope - grad[i]) < 1e-7 + 1e-5 * Math.abs(slope),
              `${name}: ${slope}, ${grad[i]}`,
            );
          }
        }
      }
    }));
}

test("training on a quantised base makes the loss fall and leaves the base's bits", () =>
  inFolder(async (at) => {
    await writeModel(at("m"), CONFIGS["llama"], madeWeights(CONFIGS["llama"], 3));
    await quantizeCheckpoint(at("m"), at("q"), { format: "nf4-asym", group: 16 });
    const before = sha256(await readFile(at("q", "model.safetensors")));
    const model = await load(at("q"));
    const frozen = model.weights.layers.map(({ qkv }) => qkv.w.slice());
    assert.ok(model.bitsPerWeight > 5 && model.bitsPerWeight < 6.5, `${model.bitsPerWeight}`);
    const step = createTrainer(model, { rate: 1e-2 });
    const losses = Array.from({ length: 40 }, () => step([ids, [...ids].reverse()]));
    assert.ok(losses[39] < 0.7 * losses[0], `${losses[0]}, ${losses[39]}`);
    assert.deepEqual(model.weights.layers.map(({ qkv }) => qkv.w), frozen);
    assert.equal(sha256(await readFile(at("q", "model.safetensors"))), before);
  }));

test("adapters are saved by PEFT's names and shapes", () =>
  inFolder(async (at) => {
    await writeModel(at("m"), CONFIGS["llama"], madeWeights(CONFIGS["llama"], 3));
    const model = await load(at("m"), ["k_proj"]);
    await saveAdapters(model, at("a"), "base");
    const shapes: Record<string, unknown> = {};
    for await (
      const { name, dtype, shape } of readSafetensors(at("a", "adapter_model.safetensors"))
    ) {
      shapes[name] = [dtype, ...shape];
    }
    const stem = (layer: number) => `base_model.model.model.layers.${layer}.self_attn.k_proj`;
    assert.deepEqual(shapes, {
      [`${stem(0)}.lora_A.weight`]: ["F32", 2, 48],
      [`${stem(0)}.lora_B.weight`]: ["F32", 24, 2],
      [`${stem(1)}.lora_A.weight`]: ["F32", 2, 48],
      [`${stem(1)}.lora_B.weight`]: ["F32", 24, 2],
    });
    const config = JSON.parse(await readFile(at("a", "adapter_config.json"), "utf8"));
    assert.deepEqual([config.peft_type, config.r, config.lora_alpha], ["LORA", 2, 4]);
    assert.deepEqual(config.target_modules, ["k_proj"]);
  }));

test("what cannot be trained is refused", () =>
  inFolder(async (at) => {
    await writeModel(at("m"), CONFIGS["llama"], madeWeights(CONFIGS["llama"], 3));
    await assert.rejects(load(at("m"), ["w_proj"]), /targets must name linears: got w_proj$/);
    const family = "qwen3, q and k norms";
    await writeModel(at("n"), CONFIGS[family], madeWeights(CONFIGS[family], 3));
    const model = await load(at("n"));
    assert.throws(() => lossOf(model, ids, { backward: false }), /heads must have no norms/);
  }));
