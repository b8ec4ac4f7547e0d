import { test } from "node:test";
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { openCheckpoint } from "../lib/checkpoint.ts";
import {
  openModelConfig,
  readModelConfig,
  ropeFrequencies,
  rotationTable,
} from "../lib/model_config.ts";
import { inFolder } from "./made_checkpoints.ts";
import { CONFIGS, madeWeights, writeModel } from "./made_models.ts";
import { REAL, REFUSED } from "./real_configs.ts";

const LLAMA = {
  model_type: "llama",
  hidden_size: 256,
  intermediate_size: 768,
  num_hidden_layers: 6,
  num_attention_heads: 4,
  vocab_size: 2048,
  max_position_embeddings: 256,
  rms_norm_eps: 1e-5,
};

test("what a config leaves out has the families' defaults", () => {
  const config = readModelConfig(LLAMA);
  assert.deepEqual(
    [config.kvHeads, config.headDim, config.rope.theta, config.tied, config.slidingWindow],
    [4, 64, 10000, false, null],
  );
  assert.deepEqual(config.eosTokens, []);
});

test("families differ in biases, norms, fused tensors and windows", () => {
  const of = (family: string, more = {}) =>
    readModelConfig({ ...LLAMA, model_type: family, ...more });
  assert.equal(of("qwen2").qkvBias, true);
  assert.equal(of("qwen2").outputBias, false);
  assert.equal(of("llama", { attention_bias: true }).outputBias, true);
  assert.equal(of("qwen3").qkNorm, true);
  assert.equal(of("phi3").fused, true);
  assert.equal(of("mistral", { sliding_window: 32 }).slidingWindow, 32);
  assert.equal(of("mistral", { sliding_window: null }).slidingWindow, null);
  assert.equal(of("qwen2", { sliding_window: 32, use_sliding_window: false }).slidingWindow, null);
});

test("a field that is missing, wrong or not supported is refused by its name", () => {
  const bad: [object, RegExp][] = [
    [{ model_type: "mamba" }, /model_type must be one of .*: got "mamba"/],
    [{ hidden_size: undefined }, /hidden_size must be a positive integer: got null/],
    [{ num_attention_heads: 3 }, /head_dim must be a positive integer/],
    [{ num_key_value_heads: 3 }, /num_key_value_heads must divide 4 heads: got 3/],
    [{ hidden_act: "gelu" }, /hidden_act must be one of silu, swish: got "gelu"/],
    [{ rope_scaling: { rope_type: "yarn", factor: 4 } }, /rope_scaling.rope_type .*: got "yarn"/],
    [{ rope_scaling: { rope_type: "linear" } }, /rope_scaling.factor must be a positive number/],
    [{ tie_word_embeddings: "yes" }, /tie_word_embeddings must be true or false/],
    [{ eos_token_id: [1, "x"] }, /eos_token_id must be token ids/],
    [{ model_type: "qwen2", use_sliding_window: true, sliding_window: 8 }, /use_sliding_window/],
    [{ partial_rotary_factor: 0.5 }, /partial_rotary_factor/],
  ];
  for (const [change, message] of bad) {
    assert.throws(() => readModelConfig({ ...LLAMA, ...change }), { name: "RangeError", message });
  }
});

for (const [name, [config, wanted, rope]] of Object.entries(REAL)) {
  test(`${name}: its config is read as its makers meant it`, () => {
    const read = readModelConfig(config);
    assert.deepEqual({ ...read, ...wanted }, read);
    assert.deepEqual({ ...read.rope, ...rope }, read.rope);
  });
}

for (const [name, [config, message]] of Object.entries(REFUSED)) {
  test(`${name}: refused by the field`, () => {
    assert.throws(() => readModelConfig(config), { name: "RangeError", message });
  });
}

test("generation_config.json names further tokens that end a text", () =>
  inFolder(async (at) => {
    const config = { ...CONFIGS.llama, eos_token_id: 2 };
    await writeModel(at("m"), config, madeWeights(config, 1));
    const eosTokens = async () => (await openModelConfig(await openCheckpoint(at("m")))).eosTokens;
    assert.deepEqual(await eosTokens(), [2]);
    const path = at("m/generation_config.json");
    await writeFile(path, JSON.stringify({ do_sample: true, eos_token_id: [2, 9] }));
    assert.deepEqual(await eosTokens(), [2, 9]);
    await writeFile(path, JSON.stringify({ eos_token_id: "</s>" }));
    await assert.rejects(eosTokens(), {
      message: /generation_config\.json's eos_token_id must be token ids: got "<\/s>"/,
    });
  }));

test("linear scaling divides every frequency", () => {
  const plain = ropeFrequencies(readModelConfig(LLAMA));
  const scaling = { type: "linear", factor: 4 };
  const scaled = ropeFrequencies(readModelConfig({ ...LLAMA, rope_scaling: scaling }));
  assert.equal(plain[0], 1);
  scaled.forEach((frequency, i) => assert.equal(frequency, plain[i] / 4));
});

test("llama3 scaling keeps short waves, stretches long ones, and blends between", () => {
  const rope_scaling = {
    rope_type: "llama3",
    factor: 8,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 8192,
  };
  const big = { ...LLAMA, head_dim: 128, rope_theta: 500000 };
  const plain = ropeFrequencies(readModelConfig(big));
  const scaled = ropeFrequencies(readModelConfig({ ...big, rope_scaling }));
  assert.equal(scaled[0], plain[0]);
  assert.equal(scaled[63], plain[63] / 8);
  const between = [...scaled.keys()].filter((i) =>
    scaled[i] < plain[i] && scaled[i] > plain[i] / 8
  );
  assert.ok(between.length > 0 && between.every((i) => i > 20 && i < 45), `${between}`);
});

test("a field of rope_scaling that says null is absent", () => {
  const rope_scaling = { rope_type: "linear", factor: 2, attention_factor: null, rope_theta: null };
  const { rope } = readModelConfig({ ...LLAMA, rope_scaling });
  assert.deepEqual([rope.kind, rope.factor, rope.theta], ["linear", 2, 10000]);
  const perLayer = { ...LLAMA, rope_scaling: { full_attention: { rope_type: "default" } } };
  assert.throws(() => readModelConfig(perLayer), /full_attention must be the same for all layers/);
});

test("newer configs keep theta and scaling in rope_parameters", () => {
  const rope_parameters = { rope_type: "linear", factor: 2, rope_theta: 500 };
  const { rope } = readModelConfig({ ...LLAMA, rope_parameters });
  assert.deepEqual([rope.kind, rope.factor, rope.theta], ["linear", 2, 500]);
});

test("the rotation table holds cosine and sine of position x frequency", () => {
  const config = readModelConfig(LLAMA);
  const table = rotationTable(config, 3);
  assert.equal(table.length, 3 * 64);
  assert.deepEqual([table[0], table[1]], [1, 0]);
  assert.deepEqual([table[128], table[129]], [Math.cos(2), Math.sin(2)].map(Math.fround));
});
