/** Claims about lib/choose_tensors.ts. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { test } from "node:test";
import { openCheckpoint } from "../lib/checkpoint.ts";
import { chooseTensors, type Globs, isDecoderLinear } from "../lib/choose_tensors.ts";
import { type TensorSource, writeSafetensors } from "../lib/safetensors_writer.ts";
import { inFolder, layer, makeModel, outer, raw, refusal, weights } from "./made_checkpoints.ts";

const linears = [
  "model.layers.0.self_attn.q_proj.weight",
  "model.layers.11.mlp.down_proj.weight",
  "model.layers.0.self_attn.qkv_proj.weight",
  "model.layers.0.mlp.gate_up_proj.weight",
  "model.layers.3.self_attn.kv_a_proj_with_mqa.weight",
  "model.layers.3.mlp.experts.7.up_proj.weight",
  "model.layers.3.block_sparse_moe.experts.7.w1.weight",
  "model.language_model.layers.0.mlp.up_proj.weight",
  "transformer.h.0.attn.q_proj.weight",
  "transformer.blocks.0.attn.Wqkv.weight",
  "gpt_neox.layers.0.attention.query_key_value.weight",
  "model.decoder.layers.0.fc1.weight",
  "decoder.block.0.layer.0.SelfAttention.q.weight",
  "layers.0.attention.wq.weight",
  "blocks.0.att.key.weight",
];
const others = [
  "model.embed_tokens.weight",
  "lm_head.weight",
  "model.norm.weight",
  "model.layers.0.input_layernorm.weight",
  "model.layers.0.self_attn.q_norm.weight",
  "transformer.h.0.ln_1.weight",
  "model.layers.0.mlp.gate.weight",
  "model.layers.0.block_sparse_moe.gate.weight",
  "model.layers.0.mlp.router.weight",
  "model.layers.0.mlp.shared_expert_gate.weight",
  "model.layers.0.self_attn.q_proj.bias",
  "model.layers.0.self_attn.q_proj.lora_A.weight",
  "model.encoder.layers.0.fc1.weight",
  "encoder.block.0.layer.0.SelfAttention.q.weight",
  "vision_tower.encoder.layers.0.self_attn.q_proj.weight",
  "model.visual.blocks.0.attn.qkv.weight",
  "audio_tower.layers.0.fc1.weight",
  "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
  "linear.weight",
];

test("the decoder's linears are known by their names", () => {
  assert.deepEqual(linears.filter((name) => !isDecoderLinear(name)), []);
  assert.deepEqual(others.filter((name) => isDecoderLinear(name)), []);
});

/** Names chosen from one file of these tensors. */
async function chosenFrom(path: string, globs?: Globs): Promise<string[]> {
  return [...chooseTensors(await openCheckpoint(path), globs).keys()].sort();
}

test("of a folder the decoder's linears, of a file every rank-2 float tensor", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    const linear = [0, 1].flatMap(layer).map(({ name }) => name).filter((n) => /proj/.test(n))
      .sort();
    assert.deepEqual(await chosenFrom(at("m")), linear);
    assert.deepEqual(
      await chosenFrom(at("m", "model.safetensors")),
      [...linear, "lm_head.weight", "model.embed_tokens.weight"].sort(),
    );
  }));

test("globs take the place of the default, or take away from it", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    const embed = "model.embed_tokens.weight";
    assert.deepEqual(await chosenFrom(at("m"), { include: ["*embed*"] }), [embed]);
    assert.deepEqual(await chosenFrom(at("m"), { include: ["*"], exclude: ["*layers*", "lm*"] }), [
      embed,
    ]);
    assert.deepEqual(await chosenFrom(at("m"), { exclude: ["*.1.*", "*.down_proj.*"] }), [
      "model.layers.0.self_attn.q_proj.weight",
    ]);
  }));

test("integers, experts of rank 3, f64 and empty matrices stay out of the default", () =>
  inFolder(async (at) => {
    const odd = [
      raw("int", "I32", [2, 2], 16),
      raw("double", "F64", [2, 2], 32),
      raw("float8", "F8_E4M3", [2, 2], 4),
      weights("experts", [2, 2, 2]),
      weights("empty", [0, 4]),
      weights("scalar", []),
    ];
    await writeSafetensors(at("x.safetensors"), [...odd, weights("w", [2, 2])]);
    assert.deepEqual(await chosenFrom(at("x.safetensors")), ["w"]);
  }));

const asked: Record<string, { tensors: TensorSource[]; globs: Globs; says: RegExp }> = {
  "experts of rank 3": {
    tensors: [weights("experts.up", [2, 2, 2])],
    globs: { include: ["experts*"] },
    says: /^Cannot quantise "experts.up" \[2, 2, 2\] as its rank must be 2: got rank 3$/,
  },
  "integers": {
    tensors: [raw("ids", "I32", [2, 2], 16)],
    globs: { include: ["ids"] },
    says: /^Cannot quantise "ids" \[2, 2\] as its dtype must be F32, F16 or BF16: got I32$/,
  },
  "an empty matrix": {
    tensors: [weights("none", [0, 4])],
    globs: { include: ["none"] },
    says: /^Cannot quantise "none" \[0, 4\] as it must hold weights: got an empty tensor$/,
  },
  "a vector alone": {
    tensors: [weights("norm", [4])],
    globs: { include: ["norm"] },
    says: /as a rank-2 float tensor must be there: got only vectors such as "norm" \[4\]$/,
  },
  "what is not there": {
    tensors: [weights("model.up", [4, 4])],
    globs: { include: ["*up", "model.wp"] },
    says:
      /^Cannot choose tensors as "model.wp" must match one: got none, the nearest name is "model.up"$/,
  },
  "to leave out what is not there": {
    tensors: [weights("w", [4, 4])],
    globs: { exclude: ["v*"] },
    says: /^Cannot choose tensors as "v\*" must match one/,
  },
  "and left out again": {
    tensors: [weights("w", [4, 4])],
    globs: { include: ["w"], exclude: ["w"] },
    says: /got all of them excluded$/,
  },
};

for (const [what, { tensors, globs, says }] of Object.entries(asked)) {
  test(`a glob that asks for ${what} is refused by name`, () =>
    inFolder(async (at) => {
      await writeSafetensors(at("x.safetensors"), [...tensors, weights("other", [2, 2])]);
      assert.match(await refusal(chosenFrom(at("x.safetensors"), globs)), says);
    }));
}

test("a wide glob takes the matrices and lets vectors be", () =>
  inFolder(async (at) => {
    await writeSafetensors(at("x.safetensors"), layer(0));
    assert.equal(
      (await chosenFrom(at("x.safetensors"), { include: ["model.layers.*"] })).length,
      2,
    );
  }));

test("a refused matrix that is excluded is not asked for", () =>
  inFolder(async (at) => {
    const tensors = [weights("a.experts", [2, 2, 2]), weights("a.up", [2, 2])];
    await writeSafetensors(at("x.safetensors"), tensors);
    const globs = { include: ["a.*"], exclude: ["*experts"] };
    assert.deepEqual(await chosenFrom(at("x.safetensors"), globs), ["a.up"]);
  }));

test("GPT-2's transposed linears are no default, and it is said why", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    await writeFile(at("m", "config.json"), '{"model_type": "gpt2"}');
    assert.match(await refusal(chosenFrom(at("m"))), /lie transposed; --include names tensors/);
    assert.equal((await chosenFrom(at("m"), { include: ["*proj*"] })).length, 4);
  }));

test("a folder without linears points to --include", () =>
  inFolder(async (at) => {
    await makeModel(at("m"));
    await writeSafetensors(at("m", "model.safetensors"), outer);
    assert.match(await refusal(chosenFrom(at("m"))), /got none by default; --include names them$/);
  }));
