/**
 * config.json of real models, by their names, as their makers wrote them and as newer versions of
 * transformers write them again: what counts, and what must not count.
 *
 * @module
 */

import type { ModelConfig } from "../lib/model_config.ts";

type Config = Record<string, unknown>;

/** A config, and what must be read from it. */
export type RealConfig = [Config, Partial<Omit<ModelConfig, "rope">>, Partial<ModelConfig["rope"]>];

const ROPE3 = {
  low_freq_factor: 1.0,
  high_freq_factor: 4.0,
  original_max_position_embeddings: 8192,
  rope_type: "llama3",
};

/** hidden size, intermediate size, layers, heads, key-value heads, vocabulary, context. */
function sizes(
  family: string,
  [dim, hidden, layers, heads, kvHeads, vocab, context]: number[],
): Config {
  return {
    model_type: family,
    hidden_act: "silu",
    hidden_size: dim,
    intermediate_size: hidden,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    vocab_size: vocab,
    max_position_embeddings: context,
    attention_dropout: 0.0,
    initializer_range: 0.02,
    use_cache: true,
  };
}

/** Configs that run. */
export const REAL: Record<string, RealConfig> = {
  "LLaMA-1 7B, of the first conversions": [
    {
      model_type: "llama",
      hidden_act: "silu",
      hidden_size: 4096,
      intermediate_size: 11008,
      max_sequence_length: 2048,
      num_attention_heads: 32,
      num_hidden_layers: 32,
      pad_token_id: -1,
      rms_norm_eps: 1e-6,
      torch_dtype: "float16",
      vocab_size: 32000,
      bos_token_id: 0,
      eos_token_id: 1,
    },
    { kvHeads: 32, headDim: 128, context: 2048, tied: false, qkvBias: false },
    { kind: "default", theta: 10000, rotaryDim: 128 },
  ],
  "LLaMA-2 70B, split over two devices when trained": [
    {
      ...sizes("llama", [8192, 28672, 80, 64, 8, 32000, 4096]),
      pretraining_tp: 2,
      rope_scaling: null,
      rms_norm_eps: 1e-5,
      tie_word_embeddings: false,
      bos_token_id: 1,
      eos_token_id: 2,
    },
    { kvHeads: 8, headDim: 128, eosTokens: [2] },
    { kind: "default" },
  ],
  "LLaMA-3.2 1B Instruct": [
    {
      ...sizes("llama", [2048, 8192, 16, 32, 8, 128256, 131072]),
      attention_bias: false,
      mlp_bias: false,
      head_dim: 64,
      rms_norm_eps: 1e-5,
      rope_theta: 500000.0,
      rope_scaling: { ...ROPE3, factor: 32.0 },
      tie_word_embeddings: true,
      bos_token_id: 128000,
      eos_token_id: [128001, 128008, 128009],
    },
    { tied: true, headDim: 64, eosTokens: [128001, 128008, 128009], normEpsilon: 1e-5 },
    { kind: "llama3", factor: 32, theta: 500000, originalContext: 8192 },
  ],
  "LLaMA-3.1 8B, written again": [
    {
      ...sizes("llama", [4096, 14336, 32, 32, 8, 128256, 131072]),
      head_dim: 128,
      dtype: "bfloat16",
      rope_parameters: { ...ROPE3, factor: 8.0, rope_theta: 500000.0 },
      layer_types: null,
      tie_word_embeddings: false,
    },
    { tied: false, headDim: 128 },
    { kind: "llama3", factor: 8, theta: 500000, highFrequencyFactor: 4 },
  ],
  "SmolLM2 135M": [
    {
      ...sizes("llama", [576, 1536, 30, 9, 3, 49152, 8192]),
      rope_interleaved: false,
      rope_theta: 100000,
      rms_norm_eps: 1e-5,
      tie_word_embeddings: true,
      bos_token_id: 0,
      eos_token_id: 0,
    },
    { headDim: 64, tied: true, bosToken: 0, eosTokens: [0] },
    { theta: 100000 },
  ],
  "Mistral 7B v0.1": [
    {
      ...sizes("mistral", [4096, 14336, 32, 32, 8, 32000, 32768]),
      rope_theta: 10000.0,
      sliding_window: 4096,
      tie_word_embeddings: false,
      head_dim: null,
    },
    { slidingWindow: 4096, headDim: 128 },
    {},
  ],
  "Mistral Nemo, whose heads are narrower than its width": [
    {
      ...sizes("mistral", [5120, 14336, 40, 32, 8, 131072, 131072]),
      head_dim: 128,
      rope_theta: 1000000.0,
      sliding_window: null,
    },
    { slidingWindow: null, headDim: 128 },
    { theta: 1000000 },
  ],
  "Qwen2.5 0.5B Instruct": [
    {
      ...sizes("qwen2", [896, 4864, 24, 14, 2, 151936, 32768]),
      max_window_layers: 21,
      sliding_window: 32768,
      use_sliding_window: false,
      rms_norm_eps: 1e-6,
      rope_theta: 1000000.0,
      tie_word_embeddings: true,
      bos_token_id: 151643,
      eos_token_id: 151645,
    },
    { qkvBias: true, outputBias: false, slidingWindow: null, tied: true, headDim: 64 },
    { theta: 1000000 },
  ],
  "Qwen2 7B, switched on for layers that it has not, written again": [
    {
      ...sizes("qwen2", [3584, 18944, 28, 28, 4, 152064, 131072]),
      attention_bias: false,
      layer_types: Array(28).fill("full_attention"),
      max_window_layers: 28,
      sliding_window: 131072,
      use_sliding_window: true,
      rope_parameters: { rope_type: "default", rope_theta: 1000000.0 },
      bos_token_id: null,
      eos_token_id: 151643,
    },
    { qkvBias: true, outputBias: false, slidingWindow: null, bosToken: null },
    { kind: "default", theta: 1000000 },
  ],
  "Qwen3 0.6B": [
    {
      ...sizes("qwen3", [1024, 3072, 28, 16, 8, 151936, 40960]),
      attention_bias: false,
      head_dim: 128,
      max_window_layers: 28,
      rope_scaling: null,
      rope_theta: 1000000,
      sliding_window: null,
      use_sliding_window: false,
      tie_word_embeddings: true,
    },
    { qkNorm: true, headDim: 128, qkvBias: false, tied: true },
    { theta: 1000000 },
  ],
  "Phi-3 mini 4k": [
    {
      ...sizes("phi3", [3072, 8192, 32, 32, 32, 32064, 4096]),
      attention_bias: false,
      embd_pdrop: 0.0,
      resid_pdrop: 0.0,
      original_max_position_embeddings: 4096,
      rope_scaling: null,
      rope_theta: 10000.0,
      sliding_window: 2047,
      rms_norm_eps: 1e-5,
      eos_token_id: 32000,
    },
    { fused: true, slidingWindow: 2047, headDim: 96, qkvBias: false },
    { kind: "default", rotaryDim: 96 },
  ],
  "Phi-4 mini's shapes, without its scaling": [
    {
      ...sizes("phi3", [3072, 8192, 32, 24, 8, 200064, 4096]),
      partial_rotary_factor: 0.75,
      rope_scaling: null,
      sliding_window: null,
      tie_word_embeddings: true,
    },
    { fused: true, slidingWindow: null, tied: true, headDim: 128, normEpsilon: 1e-5 },
    { rotaryDim: 96 },
  ],
  "the same, written again": [
    {
      ...sizes("phi3", [3072, 8192, 32, 24, 8, 200064, 4096]),
      rope_parameters: { rope_type: "default", rope_theta: 500, partial_rotary_factor: 0.75 },
    },
    {},
    { rotaryDim: 96, theta: 500 },
  ],
};

const [LLAMA3, QWEN2, PHI3] = [
  "LLaMA-3.1 8B, written again",
  "Qwen2.5 0.5B Instruct",
  "Phi-3 mini 4k",
]
  .map((name) => REAL[name][0]);

/** Configs that do not run, and what is said of them. */
export const REFUSED: Record<string, [Config, RegExp]> = {
  "Phi-3 mini 128k, whose rotation is scaled by lists": [
    { ...PHI3, rope_scaling: { type: "longrope", long_factor: [1.07], short_factor: [1.1] } },
    /config\.json's rope_scaling\.type must be default, linear or llama3: got "longrope"$/,
  ],
  "Phi-3.5, written again": [
    {
      ...PHI3,
      rope_parameters: { rope_type: "longrope", long_factor: [1], short_factor: [1] },
    },
    /rope_parameters\.rope_type must be .*: got "longrope"$/,
  ],
  "Qwen2.5 with YaRN": [
    {
      ...QWEN2,
      rope_scaling: { factor: 4.0, original_max_position_embeddings: 32768, type: "yarn" },
    },
    /rope_scaling\.type must be .*: got "yarn"$/,
  ],
  "a theta for each kind of layer": [
    {
      ...LLAMA3,
      rope_parameters: { full_attention: { rope_theta: 1e6, rope_type: "default" } },
    },
    /rope_parameters\.full_attention must be the same for all layers/,
  ],
  "Qwen2 with windows in its upper layers": [
    { ...QWEN2, use_sliding_window: true },
    /use_sliding_window must be false: got true$/,
  ],
  "the same by layer_types": [
    { ...QWEN2, layer_types: ["full_attention", "sliding_attention"] },
    /layer_types must be full_attention throughout: got "sliding_attention"$/,
  ],
  "Granite's multipliers": [
    { ...LLAMA3, logits_scaling: 8.0 },
    /logits_scaling must be one of 1: got 8$/,
  ],
  "Gemma's caps": [
    { ...LLAMA3, final_logit_softcapping: 30.0 },
    /final_logit_softcapping must be null: got 30$/,
  ],
  "weights quantised by another": [
    { ...LLAMA3, quantization_config: { quant_method: "gptq", bits: 4 } },
    /quantization_config\.quant_method must be afpq: got "gptq"$/,
  ],
  "a mixture of experts": [
    { ...QWEN2, model_type: "qwen2_moe" },
    /model_type must be one of .*: got "qwen2_moe"$/,
  ],
  "a rotation of part of a LLaMA": [
    { ...LLAMA3, partial_rotary_factor: 0.5 },
    /partial_rotary_factor must be one of 1: got 0.5$/,
  ],
};
