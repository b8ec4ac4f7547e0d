/**
 * Attention over a window and its derivative, in f64: the part of tape_ops.ts that looks from token to
 * token. A row of `qkv` holds queries, keys and values; tokens see themselves and those before them,
 * as far back as a sliding window lets them.
 *
 * @module
 */

import type { ModelConfig } from "./model_config.ts";

/** Activations [tokens, width] and their gradient. */
export interface Variable {
  readonly value: Float64Array;
  readonly grad: Float64Array;
  readonly width: number;
}

/** Turns queries and keys by their positions, or back. */
export function turn(
  qkv: Float64Array,
  { heads, kvHeads, headDim, rope: { rotaryDim } }: ModelConfig,
  rotations: Float32Array,
  direction: number,
): void {
  const stride = (heads + 2 * kvHeads) * headDim, half = rotaryDim / 2;
  for (let t = 0; t < qkv.length / stride; t++) {
    for (let head = 0; head < heads + kvHeads; head++) {
      for (let i = 0; i < half; i++) {
        const at = t * stride + head * headDim + i;
        const cosine = rotations[t * rotaryDim + 2 * i];
        const sine = direction * rotations[t * rotaryDim + 2 * i + 1];
        const [a, b] = [qkv[at], qkv[at + half]];
        qkv[at] = a * cosine - b * sine;
        qkv[at + half] = b * cosine + a * sine;
      }
    }
  }
}

/** Where the parts of one head lie for a token, and which tokens it sees. */
function headsOf({ heads, kvHeads, headDim, slidingWindow }: ModelConfig) {
  const stride = (heads + 2 * kvHeads) * headDim;
  return {
    query: (t: number, head: number) => t * stride + head * headDim,
    key: (t: number, head: number) =>
      t * stride + (heads + Math.floor(head * kvHeads / heads)) * headDim,
    value: (t: number, head: number) =>
      t * stride + (heads + kvHeads + Math.floor(head * kvHeads / heads)) * headDim,
    first: (t: number) => slidingWindow === null ? 0 : Math.max(0, t + 1 - slidingWindow),
  };
}

/** y = softmax(q K^T / sqrt(headDim)) V; gives the shares, by head and token. */
export function attend(qkv: Variable, y: Variable, config: ModelConfig): Float64Array[] {
  const { heads, headDim: n } = config, at = headsOf(config), { value } = qkv;
  const shares: Float64Array[] = [];
  for (let head = 0; head < heads; head++) {
    for (let t = 0; t < value.length / qkv.width; t++) {
      const first = at.first(t), own = new Float64Array(t + 1 - first), q = at.query(t, head);
      own.forEach((_, i) => {
        const k = at.key(first + i, head);
        for (let d = 0; d < n; d++) own[i] += value[q + d] * value[k + d] / Math.sqrt(n);
      });
      const top = own.reduce((a, b) => Math.max(a, b), -Infinity);
      const raised = own.map((score) => Math.exp(score - top));
      const total = raised.reduce((a, b) => a + b, 0);
      raised.forEach((weight, i) => {
        const v = at.value(first + i, head), to = t * y.width + head * n;
        own[i] = weight / total;
        for (let d = 0; d < n; d++) y.value[to + d] += own[i] * value[v + d];
      });
      shares.push(own);
    }
  }
  return shares;
}

/** What y's gradient is to queries, keys and values. */
export function attendBack(
  qkv: Variable,
  y: Variable,
  shares: readonly Float64Array[],
  config: ModelConfig,
): void {
  const { heads, headDim: n } = config, at = headsOf(config), { value, grad } = qkv;
  const tokens = value.length / qkv.width;
  for (let head = 0; head < heads; head++) {
    for (let t = 0; t < tokens; t++) {
      const own = shares[head * tokens + t], first = at.first(t);
      const from = t * y.width + head * n, q = at.query(t, head);
      const pulls = own.map((share, i) => {
        const v = at.value(first + i, head);
        let pull = 0;
        for (let d = 0; d < n; d++) {
          pull += y.grad[from + d] * value[v + d];
          grad[v + d] += share * y.grad[from + d];
        }
        return pull;
      });
      const mean = pulls.reduce((sum, pull, i) => sum + pull * own[i], 0);
      pulls.forEach((pull, i) => {
        const score = own[i] * (pull - mean) / Math.sqrt(n), k = at.key(first + i, head);
        for (let d = 0; d < n; d++) {
          grad[q + d] += score * value[k + d];
          grad[k + d] += score * value[q + d];
        }
      });
    }
  }
}
