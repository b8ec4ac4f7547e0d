/**
 * Small networks with random weights, one of each family, as Hugging Face folders: what differs
 * between families is in them, nothing is large.
 *
 * @module
 */

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { narrow } from "../lib/float16.ts";
import { writeSafetensors } from "../lib/safetensors_writer.ts";
import { fill, normal } from "./random.ts";

type Config = Record<string, unknown>;

const BASE = {
  hidden_size: 48,
  intermediate_size: 80,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 101,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  torch_dtype: "float32",
  bos_token_id: 1,
  eos_token_id: 2,
};

/** config.json by what it is there for. */
export const CONFIGS: Record<string, Config> = {
  "llama": { ...BASE, model_type: "llama" },
  "llama, tied, linear scaling": {
    ...BASE,
    model_type: "llama",
    tie_word_embeddings: true,
    rope_scaling: { type: "linear", factor: 2 },
  },
  "llama, llama3 scaling, its own head_dim": {
    ...BASE,
    model_type: "llama",
    head_dim: 16,
    rope_scaling: {
      rope_type: "llama3",
      factor: 4,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 32,
    },
  },
  "llama, all biases": { ...BASE, model_type: "llama", attention_bias: true, mlp_bias: true },
  "mistral, sliding window": { ...BASE, model_type: "mistral", sliding_window: 5 },
  "qwen2, biases": { ...BASE, model_type: "qwen2" },
  "qwen3, q and k norms": { ...BASE, model_type: "qwen3", head_dim: 20 },
  "phi3, fused tensors, half a head turned, a window": {
    ...BASE,
    model_type: "phi3",
    partial_rotary_factor: 0.5,
    sliding_window: 7,
  },
};

/** A tensor of a made model. */
export interface MadeTensor {
  readonly shape: number[];
  readonly values: Float32Array<ArrayBuffer>;
}

/** Random weights of a config by their Hugging Face names. */
export function madeWeights(config: Config, seed: number): Map<string, MadeTensor> {
  const next = normal(seed);
  const tensors = new Map<string, MadeTensor>();
  const number = (name: string, otherwise = 0) => Number(config[name] ?? otherwise);
  const dim = number("hidden_size"), hidden = number("intermediate_size");
  const heads = number("num_attention_heads"), kvHeads = number("num_key_value_heads");
  const headDim = number("head_dim", dim / heads);
  const put = (name: string, shape: number[], size: number, around = 0) => {
    const length = shape.reduce((a, b) => a * b);
    tensors.set(name, { shape, values: fill(length, () => around + size * next()) });
  };
  const linear = (name: string, rows: number, cols: number, biased: boolean) => {
    put(`${name}.weight`, [rows, cols], 1 / Math.sqrt(cols));
    if (biased) put(`${name}.bias`, [rows], 0.3);
  };
  const bias = config.attention_bias === true;
  const family = config.model_type;
  put("model.embed_tokens.weight", [number("vocab_size"), dim], 1);
  for (let layer = 0; layer < number("num_hidden_layers"); layer++) {
    const at = `model.layers.${layer}`;
    put(`${at}.input_layernorm.weight`, [dim], 0.2, 1);
    put(`${at}.post_attention_layernorm.weight`, [dim], 0.2, 1);
    const q = heads * headDim, kv = kvHeads * headDim;
    if (family === "phi3") {
      linear(`${at}.self_attn.qkv_proj`, q + 2 * kv, dim, false);
      linear(`${at}.mlp.gate_up_proj`, 2 * hidden, dim, false);
    } else {
      const biased = bias || family === "qwen2";
      linear(`${at}.self_attn.q_proj`, q, dim, biased);
      linear(`${at}.self_attn.k_proj`, kv, dim, biased);
      linear(`${at}.self_attn.v_proj`, kv, dim, biased);
      linear(`${at}.mlp.gate_proj`, hidden, dim, config.mlp_bias === true);
      linear(`${at}.mlp.up_proj`, hidden, dim, config.mlp_bias === true);
    }
    linear(`${at}.self_attn.o_proj`, dim, q, bias);
    linear(`${at}.mlp.down_proj`, dim, hidden, config.mlp_bias === true);
    if (family === "qwen3") {
      put(`${at}.self_attn.q_norm.weight`, [headDim], 0.2, 1);
      put(`${at}.self_attn.k_norm.weight`, [headDim], 0.2, 1);
    }
  }
  put("model.norm.weight", [dim], 0.2, 1);
  if (!config.tie_word_embeddings) linear("lm_head", number("vocab_size"), dim, false);
  return tensors;
}

/** Writes a model's folder. */
export async function writeModel(
  folder: string,
  config: Config,
  tensors: ReadonlyMap<string, MadeTensor>,
  dtype: "F32" | "F16" | "BF16" = "F32",
): Promise<void> {
  await mkdir(folder, { recursive: true });
  const sources = [...tensors].map(([name, { shape, values }]) => {
    return { name, dtype, shape, bytes: () => narrow(values, dtype) };
  });
  await writeSafetensors(join(folder, "model.safetensors"), sources, {});
  await writeFile(join(folder, "config.json"), JSON.stringify(config));
}
