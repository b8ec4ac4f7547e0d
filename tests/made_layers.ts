/**
 * The first layer of a small made network, in host memory.
 *
 * @module
 */
import type { HostLayer } from "../lib/block_inputs.ts";
import type { Matrix } from "../lib/linear_reference.ts";
import { narrow, widen } from "../lib/float16.ts";
import { type ModelConfig, readModelConfig } from "../lib/model_config.ts";
import { madeWeights } from "./made_models.ts";

/** Weights of layer 0, gains and biases in a dtype. */
export function madeLayer(
  config: Record<string, unknown>,
  dtype: "F32" | "BF16",
  seed = 1,
): { layer: HostLayer; config: ModelConfig } {
  const tensors = madeWeights(config, seed);
  const at = "model.layers.0";
  const vector = (name: string) => widen(narrow(tensors.get(name)!.values, dtype), dtype);
  const stack = (...names: string[]) => {
    const parts = names.map((name): Matrix => {
      const { shape: [rows, cols], values } = tensors.get(`${at}.${name}.weight`)!;
      const bytes = new Uint8Array(values.slice().buffer);
      return { name: `${at}.${name}.weight`, rows, cols, dtype: "F32", bytes };
    });
    const biases = names.flatMap((name) =>
      tensors.has(`${at}.${name}.bias`) ? [...vector(`${at}.${name}.bias`)] : []
    );
    return { parts, bias: biases.length > 0 ? Float32Array.from(biases) : null };
  };
  const known = readModelConfig(config);
  const attention = (name: string) => `self_attn.${name}`;
  return {
    config: known,
    layer: {
      attentionNorm: vector(`${at}.input_layernorm.weight`),
      qkv: known.fused
        ? stack(attention("qkv_proj"))
        : stack(...["q_proj", "k_proj", "v_proj"].map(attention)),
      headNorms: known.qkNorm
        ? {
          q: vector(`${at}.self_attn.q_norm.weight`),
          k: vector(`${at}.self_attn.k_norm.weight`),
        }
        : null,
      output: stack(attention("o_proj")),
      mlpNorm: vector(`${at}.post_attention_layernorm.weight`),
      gateUp: known.fused ? stack("mlp.gate_up_proj") : stack("mlp.gate_proj", "mlp.up_proj"),
      down: stack("mlp.down_proj"),
    },
  };
}
