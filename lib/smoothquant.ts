/**
 * SmoothQuant (arXiv 2211.10438): outlying inputs make 8-bit activations coarse, so their size moves
 * into the weights, which bear it.
 *
 *   s_j = (max |x_j|)^a / (max |w_j|)^(1 - a)      x' = x / s, W' = W diag(s); a = 0.5 unless told
 *
 * Where scales go is folding.ts's business, and the output is the same until something is rounded:
 *
 *   int8Activations   each token by itself: q = round(x / d), d = max |x| / 127, and x' = q d
 *   int8Rows          each row of W by itself, likewise
 *
 * Both are simulated: what is multiplied are f32 numbers that 8 bits can hold. Attention itself, the
 * norms, the embedding and the head stay as they are.
 *
 * @module
 */

import { rootPower } from "./awq.ts";
import type { CpuWeight } from "./cpu_ops.ts";
import type { Ops } from "./ops.ts";
import { roundHalfEven } from "./rounding.ts";

/** Smallest magnitude that counts. */
const LEAST = 1e-5;

/**
 * Scales of inputs of largest sizes [cols], for matrices W [rows, cols] that share them.
 *
 * @example Usage
 * ```ts
 * import { smoothScales } from "./smoothquant.ts";
 * import assert from "node:assert/strict";
 *
 * const [outlying, other] = smoothScales([Float32Array.of(1, 1)], Float64Array.of(100, 1));
 * assert.deepEqual([outlying, other], [10, 1]);
 * ```
 */
export function smoothScales(
  matrices: readonly Float32Array[],
  largest: Float64Array,
  alpha = 0.5,
): Float64Array {
  const k = Math.min(1023, Math.round(1024 * alpha));
  const cols = largest.length;
  const weights = new Float64Array(cols);
  for (const w of matrices) {
    for (let i = 0; i < w.length; i++) {
      const size = Math.abs(w[i]);
      if (size > weights[i % cols]) weights[i % cols] = size;
    }
  }
  return largest.map((size, j) => {
    const [x, w] = [Math.max(size, LEAST), Math.max(weights[j], LEAST)];
    return Math.max(rootPower(x, k) * rootPower(w, k) / w, LEAST); // w^-(1 - a) = w^a / w
  });
}

/** Rows of numbers [rows, cols], each rounded to 255 even steps of its own: x' [rows, cols]. */
export function int8Rows(x: Float32Array, cols: number): Float32Array<ArrayBuffer> {
  const rounded = new Float32Array(x.length);
  for (let start = 0; start < x.length; start += cols) {
    let most = 0;
    for (let i = start; i < start + cols; i++) most = Math.max(most, Math.abs(x[i]));
    const step = Math.fround(most / 127);
    if (step === 0) continue;
    for (let i = start; i < start + cols; i++) {
      const q = roundHalfEven(x[i] / step);
      rounded[i] = Math.max(-127, Math.min(q, 127)) * step;
    }
  }
  return rounded;
}

type HostOps = Ops<Float32Array, CpuWeight, Float32Array>;

/** Operations whose linears, but for the head, are given inputs of 8 bits a number. */
export function int8Activations(ops: HostOps, head: CpuWeight): HostOps {
  const rounded = (w: CpuWeight, x: Float32Array) => w === head ? x : int8Rows(x, w.parts[0].cols);
  return {
    ...ops,
    linear: (w, x) => ops.linear(w, rounded(w, x)),
    addLinear: (w, x, into) => ops.addLinear(w, rounded(w, x), into),
    gatedLinear: (w, x) => ops.gatedLinear(w, rounded(w, x)),
  };
}
