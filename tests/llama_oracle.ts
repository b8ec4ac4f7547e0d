/**
 * The LLaMA family once more, written apart from lib/: no cache, no chunks, no fused tensors, whole
 * matrices of numbers, in the order in which the papers write it. Slow on purpose.
 *
 * @module
 */

import type { MadeTensor } from "./made_models.ts";

type Config = Record<string, unknown>;
type Vector = number[];

/** Logits of every token, [tokens][vocab]. */
export function oracleLogits(
  config: Config,
  tensors: ReadonlyMap<string, MadeTensor>,
  ids: readonly number[],
): Vector[] {
  const n = (name: string, otherwise = 0) => Number(config[name] ?? otherwise);
  const heads = n("num_attention_heads"), kvHeads = n("num_key_value_heads");
  const headDim = n("head_dim", n("hidden_size") / heads), epsilon = n("rms_norm_eps");
  const rows = (name: string): Vector[] => {
    const { shape: [count, width], values } = tensors.get(name)!;
    return Array.from(
      { length: count },
      (_, r) => [...values.subarray(r * width, (r + 1) * width)],
    );
  };
  const vector = (name: string): Vector => [...tensors.get(name)!.values];
  const dot = (a: Vector, b: Vector) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  const apply = (w: Vector[], x: Vector, bias?: Vector) =>
    w.map((row, r) => dot(row, x) + (bias ? bias[r] : 0));
  const layerOf = (name: string, x: Vector) =>
    apply(
      rows(`${name}.weight`),
      x,
      tensors.has(`${name}.bias`) ? vector(`${name}.bias`) : undefined,
    );
  const norm = (x: Vector, gain: Vector) => {
    const root = Math.sqrt(dot(x, x) / x.length + epsilon);
    return x.map((value, i) => value / root * gain[i]);
  };
  const split = (x: Vector, ...sizes: number[]) => {
    let at = 0;
    return sizes.map((size) => x.slice(at, at += size));
  };

  const hasWindow = config.model_type === "mistral" || config.model_type === "phi3";
  const window = hasWindow ? n("sliding_window", Infinity) : Infinity;
  const embedding = rows("model.embed_tokens.weight");
  const x = ids.map((id) => [...embedding[id]]);
  for (let layer = 0; layer < n("num_hidden_layers"); layer++) {
    const at = `model.layers.${layer}`;
    const normed = x.map((v) => norm(v, vector(`${at}.input_layernorm.weight`)));
    const [qs, ks, vs] = [0, 1, 2].map((which) =>
      normed.map((v) => {
        const sizes = [heads * headDim, kvHeads * headDim, kvHeads * headDim];
        const part = config.model_type === "phi3"
          ? split(layerOf(`${at}.self_attn.qkv_proj`, v), ...sizes)[which]
          : layerOf(`${at}.self_attn.${"qkv"[which]}_proj`, v);
        return Array.from({ length: sizes[which] / headDim }, (_, head) =>
          part.slice(head * headDim, (head + 1) * headDim));
      })
    );
    const turned = (vectors: Vector[][], which: string) =>
      vectors.map((ofToken, position) =>
        ofToken.map((v) => {
          const own = config.model_type === "qwen3"
            ? norm(v, vector(`${at}.self_attn.${which}_norm.weight`))
            : v;
          return turn(own, position, config);
        })
      );
    const q = turned(qs, "q"), k = turned(ks, "k");
    const attended = ids.map((_, token) => {
      return Array.from({ length: heads }, (_, head) => {
        const kv = Math.floor(head * kvHeads / heads);
        const seen = ids.map((_, i) => i).filter((i) => i <= token && token - i < window);
        const weights = seen.map((i) =>
          Math.exp(dot(q[token][head], k[i][kv]) / Math.sqrt(headDim))
        );
        const total = weights.reduce((a, b) => a + b);
        return Array.from(
          { length: headDim },
          (_, d) => seen.reduce((sum, i, j) => sum + weights[j] / total * vs[i][kv][d], 0),
        );
      }).flat();
    });
    x.forEach((v, token) => add(v, layerOf(`${at}.self_attn.o_proj`, attended[token])));
    x.forEach((v) => {
      const m = norm(v, vector(`${at}.post_attention_layernorm.weight`));
      const hidden = n("intermediate_size");
      const [gate, up] = config.model_type === "phi3"
        ? split(layerOf(`${at}.mlp.gate_up_proj`, m), hidden, hidden)
        : [layerOf(`${at}.mlp.gate_proj`, m), layerOf(`${at}.mlp.up_proj`, m)];
      const y = gate.map((g, i) => g / (1 + Math.exp(-g)) * up[i]);
      add(v, layerOf(`${at}.mlp.down_proj`, y));
    });
  }
  const head = config.tie_word_embeddings ? embedding : rows("lm_head.weight");
  return x.map((v) => apply(head, norm(v, vector("model.norm.weight"))));
}

function add(into: Vector, x: Vector): void {
  x.forEach((value, i) => into[i] += value);
}

/** A head, or its first part, turned by its position, as complex numbers: dimension i with i + half. */
function turn(v: Vector, position: number, config: Config): Vector {
  const half = v.length / 2 * Number(config.partial_rotary_factor ?? 1);
  const y = [...v];
  for (let i = 0; i < half; i++) {
    const angle = position * frequency(i / half, config);
    y[i] = v[i] * Math.cos(angle) - v[i + half] * Math.sin(angle);
    y[i + half] = v[i] * Math.sin(angle) + v[i + half] * Math.cos(angle);
  }
  return y;
}

function frequency(part: number, config: Config): number {
  const plain = 1 / Number(config.rope_theta) ** part;
  const scaling = config.rope_scaling as Record<string, number | string> | undefined;
  if (!scaling) return plain;
  const factor = Number(scaling.factor);
  if (scaling.type === "linear") return plain / factor;
  const wavelength = 2 * Math.PI / plain;
  const context = Number(scaling.original_max_position_embeddings);
  const longest = context / Number(scaling.low_freq_factor);
  const shortest = context / Number(scaling.high_freq_factor);
  if (wavelength < shortest) return plain;
  if (wavelength > longest) return plain / factor;
  const low = Number(scaling.low_freq_factor);
  const smooth = (context / wavelength - low) / (Number(scaling.high_freq_factor) - low);
  return (1 - smooth) * plain / factor + smooth * plain;
}
