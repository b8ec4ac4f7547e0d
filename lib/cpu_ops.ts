/**
 * The operations of a network in plain TypeScript, computed on the spot: the reference that devices
 * are held against, and the backend where there is no GPU.
 *
 * @module
 */

import {
  attention,
  type AttentionShape,
  type HeadGains,
  type KeyValueCache,
  rotate,
} from "./attention_reference.ts";
import { denseMatmul, matmul, type Matrix } from "./linear_reference.ts";
import type { ModelConfig } from "./model_config.ts";
import type { Ops } from "./ops.ts";
import { embed, rmsNorm, siluMul } from "./pointwise_reference.ts";

/** Matrices of equal width, one below the other, with their bias. */
export interface CpuWeight {
  readonly parts: readonly Matrix[];
  /** [rows of all parts] */
  readonly bias: Float32Array | null;
}

/** What the operations know beside their arguments. */
export interface CpuState {
  readonly config: ModelConfig;
  readonly caches: readonly KeyValueCache[];
  /** [context, rotaryDim / 2, 2] */
  readonly rotations: Float32Array;
  /** Tokens to run, and the position of the first. */
  ids: ArrayLike<number>;
  position: number;
}

/** Operations over Float32Array activations, [tokens, width]. */
export function createCpuOps(state: CpuState): Ops<Float32Array, CpuWeight, Float32Array> {
  const { config, caches, rotations } = state;
  const shape = attentionShape(config);
  return {
    embed: ({ parts: [table] }) => embed(table, state.ids),
    norm: (x, gain, options) =>
      rmsNorm(options?.last ? x.subarray(x.length - gain.length) : x, gain, config.normEpsilon),
    linear,
    addLinear(w, x, into) {
      linear(w, x).forEach((value, i) => into[i] += value);
    },
    gatedLinear: (w, x) => siluMul(linear(w, x), config.hidden),
    rotate(qkv, layer, gains: HeadGains | null) {
      const { position } = state;
      rotate(qkv, shape, { cache: caches[layer], rotations, position, gains });
    },
    attention: (qkv, layer) => attention(qkv, shape, caches[layer], state.position),
  };
}

/** The attention of a network's layers. */
export function attentionShape(config: ModelConfig): AttentionShape {
  return { ...config, rotaryDim: config.rope.rotaryDim };
}

/** Y = X W^T + b over all parts: [tokens, rows]. */
function linear({ parts, bias }: CpuWeight, x: Float32Array): Float32Array {
  const rows = parts.reduce((sum, part) => sum + part.rows, 0);
  const tokens = x.length / parts[0].cols;
  const y = new Float32Array(tokens * rows);
  let first = 0;
  for (const part of parts) {
    const options = { bias: bias?.subarray(first, first + part.rows) };
    const some = "codes" in part
      ? matmul(part, x, tokens, options)
      : denseMatmul(part, x, tokens, options);
    for (let token = 0; token < tokens; token++) {
      y.set(some.subarray(token * part.rows, (token + 1) * part.rows), token * rows + first);
    }
    first += part.rows;
  }
  return y;
}
