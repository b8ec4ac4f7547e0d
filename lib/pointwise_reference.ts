/**
 * The small kernels of a transformer in plain TypeScript, in f64 until the result is stored: what
 * rms_norm, silu_mul, embed, token_loss, top, halve_tokens and byte_tokens must compute.
 *
 * Activations are [tokens, width], row-major, no padding here.
 *
 * @module
 */

import { f16Bits, f16Value, floorLog2, powerOfTwo } from "./float16.ts";
import { denseRow, type Matrix, weightsOf } from "./linear_reference.ts";
import { UNIT, unitsPerRow } from "./pack.ts";
import { roundHalfEven } from "./rounding.ts";

const F32_MIN_NORMAL = 2 ** -126;

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

/**
 * One token as f16 numbers, times 2^k so that 2^(target - 1) <= max |x| 2^k < 2^target, and 2^-k.
 * x [cols] -> halves [cols]
 */
export function halveTokens(
  x: Float32Array,
  target: number,
): { halves: Float32Array<ArrayBuffer>; factor: number } {
  const largest = x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const exponent = largest < F32_MIN_NORMAL ? -127 : floorLog2(largest);
  const up = Math.max(-126, Math.min(target - 1 - exponent, 126));
  const halves = Float32Array.from(x, (value) => f16Value(f16Bits(value * powerOfTwo(up))));
  return { halves, factor: powerOfTwo(-up) };
}

/**
 * One token as bytes, each unit of 32 columns in steps of a 127th of its largest, or 0 where that is
 * below 2^-119. x [cols] -> bytes [cols], steps [units]
 */
export function byteTokens(
  x: Float32Array,
): { bytes: Int8Array<ArrayBuffer>; steps: Float32Array<ArrayBuffer> } {
  const steps = new Float32Array(unitsPerRow(x.length));
  for (const [column, value] of x.entries()) {
    const unit = Math.floor(column / UNIT);
    steps[unit] = Math.max(steps[unit], Math.abs(value));
  }
  steps.forEach((most, unit) => steps[unit] = most < 2 ** -119 ? 0 : most / 127);
  const bytes = Int8Array.from(x, (value, column) => {
    const step = steps[Math.floor(column / UNIT)];
    return step === 0 ? 0 : roundHalfEven(value / step);
  });
  return { bytes, steps };
}
