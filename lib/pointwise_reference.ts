/**
 * The small kernels of a transformer in plain TypeScript, in f64 until the result is stored: what
 * rms_norm, silu_mul, embed, token_loss and top must compute.
 *
 * Activations are [tokens, width], row-major, no padding here.
 *
 * @module
 */

import { denseRow, type Matrix, weightsOf } from "./linear_reference.ts";

/** y = x / sqrt(mean x^2 + epsilon) * gain. x [tokens, width], gain [width] -> y [tokens, width]. */
export function rmsNorm(
  x: Float32Array,
  gain: Float32Array,
  epsilon: number,
): Float32Array<ArrayBuffer> {
  const width = gain.length;
  const y = new Float32Array(x.length);
  for (let start = 0; start < x.length; start += width) {
    let squares = 0;
    for (let i = 0; i < width; i++) squares += x[start + i] ** 2;
    const scale = 1 / Math.sqrt(squares / width + epsilon);
    for (let i = 0; i < width; i++) y[start + i] = x[start + i] * scale * gain[i];
  }
  return y;
}

/** silu(gate) * up. x [tokens, 2 width], gates then ups -> y [tokens, width]. */
export function siluMul(x: Float32Array, width: number): Float32Array<ArrayBuffer> {
  const y = new Float32Array(x.length / 2);
  for (let i = 0; i < y.length; i++) {
    const at = Math.floor(i / width) * 2 * width + i % width;
    y[i] = x[at] / (1 + Math.exp(-x[at])) * x[at + width];
  }
  return y;
}

/** Rows of a table [vocab, width], one for each id -> x [tokens, width]. */
export function embed(table: Matrix, ids: ArrayLike<number>): Float32Array<ArrayBuffer> {
  const x = new Float32Array(ids.length * table.cols);
  Array.from(ids, (id, token) => {
    const row = "codes" in table ? weightsOf(table, id) : denseRow(table, id);
    x.set(row, token * table.cols);
  });
  return x;
}

/** -log softmax(logits)[target] in nats. logits [tokens, vocab], targets [tokens] -> [tokens]. */
export function tokenLoss(
  logits: Float32Array,
  targets: ArrayLike<number>,
): Float32Array<ArrayBuffer> {
  const vocab = logits.length / targets.length;
  return Float32Array.from(targets, (target, token) => {
    const row = logits.subarray(token * vocab, (token + 1) * vocab);
    const top = row.reduce((a, b) => Math.max(a, b), -Infinity);
    const sum = row.reduce((sum, logit) => sum + Math.exp(logit - top), 0);
    return Math.log(sum) + top - row[target];
  });
}

/** Ids of the `k` largest logits, largest first; of equals the one of the lower id. */
export function top(logits: Float32Array, k: number): Uint32Array<ArrayBuffer> {
  const ids = Array.from(logits, (_, id) => id);
  return Uint32Array.from(ids.sort((a, b) => logits[b] - logits[a] || a - b).slice(0, k));
}
